"""Shipped fakes and contract suites: what every store and model must obey.

The contract suites import pytest and are imported from their own modules.
"""

from __future__ import annotations

from sleepmem.testing.fake_clock import FakeClock
from sleepmem.testing.fake_model import FakeSleepLM

__all__ = ["FakeClock", "FakeSleepLM"]
