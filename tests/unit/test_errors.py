"""The family of errors."""

from __future__ import annotations

import copy

import pytest

from sleepmem.errors import CheckpointInvalid, ConfigError, MissingExtra, SleepmemError
from sleepmem.train.loop import TrainingDiverged

ERRORS = [
    ConfigError("what", hint="do this"),
    CheckpointInvalid("folder", "it is empty"),
    MissingExtra("a database", "postgres"),
    TrainingDiverged(7, "the loss"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_after_it_was_taken_apart(error: SleepmemError) -> None:
    again = copy.copy(error)  # as when it leaves the process that it was raised in
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
    assert again.hint
