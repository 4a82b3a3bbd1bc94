"""Our errors as LangChain's callers know them: each is a member of both families."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelTimeoutError,
)

from sleepmem.errors import (
    CheckpointNotFound,
    ConfigError,
    InvalidMessage,
    SleepmemError,
    StoreUnavailable,
    WindowExceeded,
)


class RefusedCall(ConfigError, ModelInvalidRequestError):
    """A call that can never work as it stands."""


class RefusedMessage(InvalidMessage, ModelInvalidRequestError):
    """A message that cannot be lived."""


class WindowOverflow(WindowExceeded, ContextOverflowError):
    """System prompt and room for the reply fill the window."""


class OtherModel(CheckpointNotFound, ModelNotFoundError):
    """A model that is not the one loaded, or none at all."""


class StoreAway(StoreUnavailable, ModelConnectionError):
    """The store is locked, full or unreachable at present."""


class TooSlow(SleepmemError, ModelTimeoutError):
    """The reply took longer than `timeout`; the turn was abandoned."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"no reply within {timeout_s:g} s", hint="Raise timeout or lower max_tokens."
        )
        self.timeout_s = timeout_s


_TWINS: tuple[tuple[type[SleepmemError], type[SleepmemError]], ...] = (
    (InvalidMessage, RefusedMessage),
    (WindowExceeded, WindowOverflow),
    (CheckpointNotFound, OtherModel),
    (StoreUnavailable, StoreAway),
    (ConfigError, RefusedCall),  # last: some of those above are ConfigErrors too
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise the twin of an error that LangChain's callers have a name for."""
    try:
        yield
    except ModelError:
        raise
    except SleepmemError as error:
        for ours, twin in _TWINS:
            if isinstance(error, ours):
                # built without __init__, whose arguments are gone; message and ids are kept
                both = twin.__new__(twin, *error.args)
                both.__dict__.update(error.__dict__)
                raise both from error
        raise
