from __future__ import annotations

import pytest

from sleepmem.store import MemoryEpisodeLog
from sleepmem.testing.log_contract import EpisodeLogContract


class TestMemoryEpisodeLog(EpisodeLogContract):
    @pytest.fixture
    def log(self) -> MemoryEpisodeLog:
        return MemoryEpisodeLog()
