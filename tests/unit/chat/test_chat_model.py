from __future__ import annotations

import asyncio
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelTimeoutError,
)
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from over_memory import lived, memory_over, run

from sleepmem import SleepChatModel, SleepMemory
from sleepmem.chat.errors import translated
from sleepmem.errors import (
    AgentNotFound,
    CheckpointNotFound,
    InvalidMessage,
    MisuseError,
    NotOpen,
    StoreUnavailable,
    WindowExceeded,
)
from sleepmem.testing.fake_model import FakeSleepLM, FakeWakeState
from sleepmem.types import Sampling, TurnState

# what is lived


def test_agent_knows_after_sleep_in_another_thread(memory: SleepMemory) -> None:
    model = SleepChatModel(memory=memory, agent_id="ana")
    model.invoke("colour=blue and more to sleep on")

    async def sleep() -> None:
        await (await memory.agent("ana")).sleep()

    run(sleep())
    assert model.invoke("colour?", thread="other").text == "blue"
    assert model.invoke("colour?", agent_id="bob").text == "unknown"


def test_history_that_is_sent_again_is_lived_once(memory: SleepMemory) -> None:
    model = SleepChatModel(memory=memory, agent_id="ana")
    talk: list[Any] = [HumanMessage("a")]
    talk += [model.invoke(talk), HumanMessage("b")]
    talk += [model.invoke(talk), HumanMessage("c")]
    model.invoke(talk)
    roles = [(entry.role.value, entry.content) for entry in lived(memory, "ana")]
    assert [content for role, content in roles if role == "user"] == ["a", "b", "c"]
    assert len(roles) == 6


def test_foreign_history_is_lived_as_it_stands(memory: SleepMemory) -> None:
    model = SleepChatModel(memory=memory, agent_id="ana")
    model.invoke([HumanMessage("a"), AIMessage("mine"), HumanMessage("b")])
    assert [entry.content for entry in lived(memory, "ana")][:3] == ["a", "mine", "b"]
    assert len({entry.turn for entry in lived(memory, "ana")}) == 1


def test_system_messages_are_the_thread_s_prompt(memory: SleepMemory) -> None:
    model = SleepChatModel(memory=memory, agent_id="ana")
    short = model.invoke("a").usage_metadata
    long = model.invoke([SystemMessage("x" * 50), HumanMessage("b")], thread="t").usage_metadata
    assert short is not None
    assert long is not None
    assert long["input_tokens"] == short["input_tokens"] + 52
    assert {entry.role.value for entry in lived(memory, "ana")} == {"user", "assistant"}


# what comes back


def test_reply_says_what_became_of_the_turn(memory: SleepMemory) -> None:
    reply = SleepChatModel(memory=memory, agent_id="ana", model="m").invoke("colour=blue colour?")
    metadata = reply.response_metadata
    assert reply.text == "blue"
    assert (metadata["model_name"], metadata["model_provider"]) == ("m", "sleepmem")
    assert metadata["finish_reason"] == "stop"
    assert metadata["sleepmem"].pop("node_id")
    n_window = len("colour=blue colour?") + 2
    assert metadata["sleepmem"] == {
        "agent_id": "ana",
        "thread": "main",
        "slept": False,
        "window_tokens": n_window,
    }
    assert json.loads(json.dumps(metadata)) == metadata
    assert reply.usage_metadata == {
        "input_tokens": n_window,
        "output_tokens": 5,
        "total_tokens": n_window + 5,
    }


def test_stream_comes_in_pieces_and_ends_with_the_same(memory: SleepMemory) -> None:
    model = SleepChatModel(memory=memory, agent_id="ana")
    chunks = list(model.stream("colour=blue colour?"))
    assert [chunk.text for chunk in chunks] == ["b", "l", "u", "e", ""]
    whole = sum(chunks[1:], chunks[0])
    assert isinstance(whole, AIMessageChunk)
    assert whole.response_metadata["sleepmem"]["agent_id"] == "ana"
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 5


def test_limits_come_from_fields_and_calls(memory: SleepMemory) -> None:
    model = SleepChatModel(memory=memory, max_tokens=2, stop_sequences=["u"])
    asked = "colour=blue colour?"
    assert model.invoke(asked).response_metadata["finish_reason"] == "length"
    assert model.invoke(asked, max_tokens=9).text == "bl"
    assert model.invoke(asked, max_tokens=9, stop=["l"]).text == "b"


def test_temperature_and_seed_reach_the_model(memory: SleepMemory) -> None:
    model = SleepChatModel(memory=memory, temperature=1.0)
    first, again, other = (model.invoke("hello", seed=seed).text for seed in (1, 1, 2))
    assert first == again != other
    assert model.invoke("hello", temperature=0).text != first


# callers from anywhere


def test_callers_from_several_loops_share_a_memory(memory: SleepMemory) -> None:
    model = SleepChatModel(memory=memory, agent_id="ana")
    asyncio.run(model.ainvoke("colour=blue"))
    assert asyncio.run(model.ainvoke("colour?")).text == "blue"
    assert model.invoke("colour?").text == "blue"

    async def together() -> Sequence[AIMessage]:
        return await asyncio.gather(*(model.ainvoke("colour?", thread=str(n)) for n in range(3)))

    assert [reply.text for reply in asyncio.run(together())] == ["unknown"] * 3


async def test_memory_of_the_callers_loop_is_shared() -> None:
    async with memory_over(FakeSleepLM()) as memory:
        model = SleepChatModel(memory=memory, agent_id="ana")
        await model.ainvoke("colour=blue")
        assert [chunk.text async for chunk in model.astream("colour?")] == [*"blue", ""]
        with pytest.raises(MisuseError, match="wait for itself"):
            model.invoke("colour?")
        told = await asyncio.to_thread(model.invoke, "colour?")
        assert told.text == "blue"


class SlowLM(FakeSleepLM):
    """Takes its time for each token."""

    def next(self, states: Sequence[FakeWakeState], sampling: Sequence[Sampling]) -> list[int]:
        time.sleep(0.02)
        return super().next(states, sampling)


@pytest.fixture
def slow() -> Iterator[SleepChatModel]:
    memory = memory_over(SlowLM())
    run(memory.open())
    yield SleepChatModel(memory=memory, agent_id="ana")
    run(memory.aclose())


def test_stream_that_is_dropped_aborts_its_turn(slow: SleepChatModel) -> None:
    assert slow.memory is not None
    chunks = slow.stream("colour=blue colour?")
    assert next(chunks).text == "b"
    chunks.close()  # type: ignore[attr-defined]
    assert slow.invoke("colour?").text == "unknown"
    states = [entry.state for entry in lived(slow.memory, "ana")]
    assert states == [TurnState.ABANDONED, TurnState.DONE, TurnState.DONE]


async def test_async_stream_that_is_dropped_aborts_its_turn(slow: SleepChatModel) -> None:
    chunks = slow.astream("colour=blue colour?")
    assert (await anext(chunks)).text == "b"
    await chunks.aclose()  # type: ignore[attr-defined]
    assert (await slow.ainvoke("colour?")).text == "unknown"


def test_reply_that_takes_too_long_is_given_up(slow: SleepChatModel) -> None:
    hasty = slow.model_copy(update={"timeout": 0.03})
    with pytest.raises(ModelTimeoutError, match=r"within 0\.03 s") as caught:
        hasty.invoke("colour=blue colour?")
    assert caught.value.is_retryable
    assert slow.invoke("colour?").text == "unknown"


# refusals


@pytest.mark.parametrize(
    ("told", "given", "kind", "ours"),
    [
        ("", {}, ModelInvalidRequestError, InvalidMessage),
        ([HumanMessage([{"type": "image", "url": "x"}])], {}, ModelInvalidRequestError, ValueError),
        ("hello", {"tools": [{"name": "f"}]}, ModelInvalidRequestError, ValueError),
        ("hello", {"model": "other"}, ModelNotFoundError, CheckpointNotFound),
        ("hello", {"max_tokens": -1}, ModelInvalidRequestError, ValueError),
        ("hello", {"temperature": -1}, ModelInvalidRequestError, ValueError),
        ("hello", {"thread": "a\0"}, ModelInvalidRequestError, ValueError),
        ("hello", {"max_tokens": 600}, ContextOverflowError, WindowExceeded),
        ([SystemMessage("x" * 600), HumanMessage("a")], {}, ContextOverflowError, WindowExceeded),
    ],
)
def test_call_that_can_never_work_is_refused(
    memory: SleepMemory, told: Any, given: Any, kind: type[Exception], ours: type[Exception]
) -> None:
    model = SleepChatModel(memory=memory, agent_id="ana")
    model.invoke("hello")
    with pytest.raises(kind) as caught:
        model.invoke(told, **given)
    assert isinstance(caught.value, ours)
    with pytest.raises(kind):
        list(model.stream(told, **given))
    assert len(lived(memory, "ana")) == 2


def test_translated_error_keeps_message_hint_and_ids() -> None:
    with pytest.raises(ContextOverflowError) as caught, translated():
        raise WindowExceeded(600, 512)
    error = caught.value
    assert isinstance(error, WindowExceeded)
    assert str(error) == str(error.__cause__)
    assert (error.n_tokens, error.window, bool(error.hint)) == (600, 512, True)


def test_error_without_a_twin_passes() -> None:
    with pytest.raises(AgentNotFound), translated():
        raise AgentNotFound("eva")
    with pytest.raises(StoreUnavailable) as caught, translated():
        raise StoreUnavailable("locked")
    assert getattr(caught.value, "is_retryable", False)


def test_closed_memory_is_refused() -> None:
    memory = memory_over(FakeSleepLM())
    run(memory.open())
    model = SleepChatModel(memory=memory, agent_id="ana")
    model.invoke("hello")
    run(memory.aclose())
    with pytest.raises(NotOpen):
        model.invoke("hello")
    with pytest.raises(NotOpen):
        SleepChatModel(memory=memory).invoke("hello")


@pytest.mark.parametrize("cache", [True, InMemoryCache()])
def test_cache_is_refused(memory: SleepMemory, cache: Any) -> None:
    assert SleepChatModel(memory=memory).cache is False
    with pytest.raises(ValueError, match="never reach the agent"):
        SleepChatModel(memory=memory, cache=cache)


def test_unknown_field_warns_and_standard_ones_do_not() -> None:
    with pytest.warns(UserWarning, match="does not know agentid, foo"):
        SleepChatModel(agentid="ana", foo=1)  # type: ignore[call-arg]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SleepChatModel(model="m", api_key="k", max_retries=3, stop=["x"], timeout=1, streaming=True)
        SleepChatModel(model_name="m", stop_sequences=["x"])


# names and tokens


def test_tokens_are_the_models_own(memory: SleepMemory) -> None:
    model = SleepChatModel(memory=memory)
    assert model.get_token_ids("naïve") == list("naïve".encode())
    assert model.get_num_tokens("abc") == 3
    assert model.get_num_tokens_from_messages([HumanMessage("abc"), SystemMessage("d")]) == 8


def test_traces_know_the_model_and_no_secret(memory: SleepMemory) -> None:
    model = SleepChatModel(memory=memory, model="m", api_key="secret", temperature=0.5)
    assert model._llm_type == "sleepmem-chat"
    assert model.asdict()["model_name"] == "m"
    params = model._get_ls_params(stop=["x"])
    assert params["ls_provider"] == "sleepmem"
    assert params["ls_model_name"] == "m"
    assert params["ls_stop"] == ["x"]
    told = repr(model) + repr(model.model_dump()) + repr(model._serialized)
    assert "secret" not in told
    assert "SleepMemory" not in told
