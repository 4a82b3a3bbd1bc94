"""The sleep-capable language model. Importing this registers it with transformers' Auto classes."""

from __future__ import annotations

import os

# before torch loads: spinning OpenMP threads on a busy machine were 100 times slower
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from transformers import AutoConfig, AutoModelForCausalLM

from sleepmem.model.config import SleepConfig
from sleepmem.model.network import SleepForCausalLM

AutoConfig.register(SleepConfig.model_type, SleepConfig, exist_ok=True)
AutoModelForCausalLM.register(SleepConfig, SleepForCausalLM, exist_ok=True)

__all__ = ["SleepConfig", "SleepForCausalLM"]
