from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from over_memory import agents, lived, memory_over, run

from sleepmem import SleepChatModel, SleepMemory
from sleepmem.testing.fake_model import FakeSleepLM

CONFIG: Any = {"configurable": {"agent_id": "config"}}

Way = Callable[[SleepChatModel, Any], Any]
WAYS: dict[str, Way] = {
    "invoke": lambda model, given: model.invoke("hello", **given),
    "ainvoke": lambda model, given: asyncio.run(model.ainvoke("hello", **given)),
    "stream": lambda model, given: list(model.stream("hello", **given)),
    "astream": lambda model, given: asyncio.run(drained(model.astream("hello", **given))),
    "batch": lambda model, given: model.batch(["hello"], **given),
    "events": lambda model, given: asyncio.run(
        drained(model.astream_events("hello", version="v2", **given))
    ),
    "chain": lambda model, given: (RunnableLambda(str) | model).invoke("hello", **given),
}


async def drained(stream: Any) -> list[Any]:
    return [item async for item in stream]


@pytest.mark.parametrize("way", WAYS)
def test_agent_is_named_by_the_config(model: SleepChatModel, way: str) -> None:
    WAYS[way](model, {"config": CONFIG})
    assert agents(model.memory) == ["config"]  # type: ignore[arg-type]


@pytest.mark.parametrize("way", [way for way in WAYS if way != "chain"])
def test_agent_is_named_by_the_call_first(memory: SleepMemory, way: str) -> None:
    model = SleepChatModel(memory=memory, agent_id="field")
    WAYS[way](model, {"config": CONFIG, "agent_id": "call"})
    assert agents(memory) == ["call"]


def test_agent_is_named_by_the_field_last(memory: SleepMemory) -> None:
    SleepChatModel(memory=memory, agent_id="field").invoke("hello")
    assert agents(memory) == ["field"]


def test_agent_is_named_through_bind_and_with_config(model: SleepChatModel) -> None:
    model.bind(agent_id="bound").invoke("hello")
    model.with_config(CONFIG).invoke("hello")
    assert agents(model.memory) == ["bound", "config"]  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_agent_is_named_in_protocol_streams(memory: SleepMemory) -> None:
    model = SleepChatModel(memory=memory)
    assert model.stream_events("hello", CONFIG, version="v3").output.text

    async def collect() -> None:
        stream = await model.astream_events("hello", agent_id="call", version="v3")
        await stream.output

    asyncio.run(collect())
    assert agents(memory) == ["call", "config"]


def test_thread_is_named_the_same_way(model: SleepChatModel) -> None:
    model.invoke("a", config={"configurable": {"agent_id": "ana", "thread_id": "t"}})
    model.invoke("b", agent_id="ana", thread="u")
    model.invoke("c", agent_id="ana")
    entries = lived(model.memory, "ana")  # type: ignore[arg-type]
    assert [entry.thread for entry in entries[::2]] == ["t", "u", "main"]


def test_call_without_an_agent_leaves_nothing(model: SleepChatModel) -> None:
    reply = model.invoke("colour=blue")
    assert model.invoke("colour?").text == "unknown"
    assert agents(model.memory) == []  # type: ignore[arg-type]
    assert reply.response_metadata["sleepmem"]["agent_id"] is None


def test_call_without_an_agent_may_be_longer_than_the_window() -> None:
    memory = memory_over(FakeSleepLM(200))
    run(memory.open())
    told = [HumanMessage(f"key{n}=value{n} is what I was told") for n in range(20)]
    reply = SleepChatModel(memory=memory).invoke([*told, HumanMessage("key3?")])
    assert reply.text == "value3"
    assert reply.response_metadata["sleepmem"]["slept"] is True
    assert agents(memory) == []
    run(memory.aclose())
