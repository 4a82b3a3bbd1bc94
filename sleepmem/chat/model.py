"""The chat model itself: LangChain's contract on one side, an agent's thread on the other.

The public entry points are overridden because the base class drops `config["configurable"]`
before it reaches `_generate` and `_astream`.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from functools import cached_property
from typing import Any, Self, cast

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig, ensure_config
from pydantic import (
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

import sleepmem
from sleepmem.chat.errors import OtherModel, RefusedCall, translated
from sleepmem.chat.home import Home, Key, within
from sleepmem.chat.messages import METADATA_KEY, Resolved, lived, resolve
from sleepmem.memory import SleepMemory
from sleepmem.settings import Settings
from sleepmem.types import MAIN, Reply, Sampling, Value

PROVIDER = "sleepmem"
_SAMPLING = frozenset(("temperature", "top_p", "top_k", "seed"))


class Call(Value):
    """What one call asks for, checked."""

    agent_id: str | None
    thread: str
    resolved: Resolved
    max_tokens: int | None
    sampling: Sampling | None
    stop: tuple[str, ...]


class SleepChatModel(BaseChatModel):
    """An agent with a memory in its weights, as a LangChain chat model.

        model = SleepChatModel(agent_id="ana", db="sqlite:///agents.db")
        model.invoke("My dog is called Rex.")

    Whose memory: call argument `agent_id`, else `config["configurable"]["agent_id"]`, else the
    field. Without any the call is ephemeral: blank fast weights, nothing is kept. The thread is
    found the same way (`thread`; `thread_id` in the config).

    Args:
        agent_id: the agent whose memory is used when a call names none.
        thread: the conversation when a call names none.
        db: database URL or SQLite file; the settings decide if None.
        model: checkpoint, by name or folder; the settings decide if None.
        memory: an open SleepMemory to share; `db`, `model` and `passes` are then its own.
        passes: passes of a sleep.
        max_tokens: longest reply.
        temperature: 0 is greedy.
        timeout: seconds for one reply; the turn is abandoned after that.
        stop: strings that end a reply.
        streaming: stream inside `invoke` too.
        max_retries, api_key: accepted and without use, nothing here is remote.
    """

    model_config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True)

    agent_id: str | None = None
    thread: str | None = None
    db: str | None = None
    model_name: str | None = Field(default=None, alias="model")
    memory: SleepMemory | None = Field(default=None, exclude=True, repr=False)
    passes: int = Field(default=4, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0)
    timeout: float | None = Field(default=None, gt=0)
    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    streaming: bool = False
    max_retries: int | None = None
    api_key: SecretStr | None = None
    # an answer from a cache would never reach the agent
    cache: BaseCache | bool | None = Field(default=False, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _warn_of_unknown(cls, given: Any) -> Any:
        if isinstance(given, dict):
            known = set(cls.model_fields) | {f.alias for f in cls.model_fields.values()}
            if unknown := sorted(set(given) - known):
                warnings.warn(f"SleepChatModel does not know {', '.join(unknown)}", stacklevel=4)
        return given

    @field_validator("cache")
    @classmethod
    def _refuse_cache(cls, cache: BaseCache | bool | None) -> bool:
        if cache not in (None, False):
            raise ValueError("an answer from a cache would never reach the agent's memory")
        return False

    @model_validator(mode="after")
    def _set_sleepmem_version(self) -> Self:
        self._add_version("sleepmem", sleepmem.__version__)
        return self

    # who is meant

    def _addressed(self, config: RunnableConfig | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the call's arguments with agent and thread, as far as anybody named them."""
        named = ensure_config(config).get("configurable") or {}
        found = {
            "agent_id": kwargs.get("agent_id") or named.get("agent_id") or self.agent_id,
            "thread": kwargs.get("thread") or named.get("thread_id") or self.thread,
        }
        return kwargs | {name: str(value) for name, value in found.items() if value is not None}

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        return super().invoke(input, config, stop=stop, **self._addressed(config, kwargs))

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        return await super().ainvoke(input, config, stop=stop, **self._addressed(config, kwargs))

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        return super().stream(input, config, stop=stop, **self._addressed(config, kwargs))

    def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        # not a generator around a generator: a loop that ends closes both at once, and complains
        return super().astream(input, config, stop=stop, **self._addressed(config, kwargs))

    def stream_events(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        return super().stream_events(input, config, **self._addressed(config, kwargs))

    def astream_events(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        return super().astream_events(input, config, **self._addressed(config, kwargs))

    # what the base class asks for

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, kwargs)
        return self._home.bridge.run(self._reply(call))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, kwargs)
        return await self._home.bridge.arun(self._reply(call))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._call(messages, stop, kwargs)
        yield from self._home.bridge.iterate(self._chunks(call))

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = self._call(messages, stop, kwargs)
        return self._home.bridge.aiterate(self._chunks(call))

    # one call

    def _call(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Call:
        """Return what a call asks for, all of it checked before anything is lived."""
        if kwargs.get("tools"):
            raise RefusedCall("this model calls no tools", hint="Give it none.")
        if (name := kwargs.get("model") or self._model) != self._model:
            raise OtherModel(name, known=(self._model,))
        agent_id = kwargs.get("agent_id") or self.agent_id
        with translated():
            return Call(
                agent_id=agent_id,
                thread=kwargs.get("thread") or self.thread or MAIN,
                resolved=resolve(messages, agent_id),
                max_tokens=kwargs.get("max_tokens") or self.max_tokens,
                sampling=self._sampling(kwargs),
                stop=tuple(stop or self.stop or ()),
            )

    def _sampling(self, kwargs: dict[str, Any]) -> Sampling | None:
        """Return how tokens are chosen; None leaves it to the memory."""
        asked = {"temperature": self.temperature} | kwargs
        given = {name: asked[name] for name in _SAMPLING if asked.get(name) is not None}
        try:
            return Sampling.model_validate(given) if given else None
        except ValidationError as problem:
            first = problem.errors()[0]
            raise RefusedCall(f"{first['loc'][0]}: {first['msg']}") from problem

    async def _reply(self, call: Call) -> ChatResult:
        chunks = [chunk async for chunk in self._chunks(call)]
        last = cast("AIMessageChunk", chunks[-1].message)
        message = AIMessage(
            "".join(chunk.text for chunk in chunks),
            response_metadata=last.response_metadata,
            usage_metadata=last.usage_metadata,
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _chunks(self, call: Call) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Yield the reply as it comes; the last chunk is empty and says what became of the turn."""
        resolved = call.resolved
        with translated():
            async with self._home.speaker(call.agent_id, call.thread, resolved.system) as speaker:
                stream = speaker.stream(
                    resolved.new,
                    max_tokens=call.max_tokens,
                    sampling=call.sampling,
                    stop=call.stop,
                )
                async with stream:
                    async for piece in within(self.timeout, stream):
                        yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
            yield ChatGenerationChunk(message=self._last(stream.reply, call.agent_id))

    def _last(self, reply: Reply, agent_id: str | None) -> AIMessageChunk:
        return AIMessageChunk(
            content="",
            chunk_position="last",
            response_metadata={
                "model_name": self._model,
                "model_provider": PROVIDER,
                "finish_reason": reply.finish_reason.value,
                METADATA_KEY: {
                    "agent_id": agent_id,
                    "thread": reply.thread,
                    "node_id": reply.node_id,
                    "slept": reply.slept,
                    "window_tokens": reply.n_window,
                },
            },
            usage_metadata=UsageMetadata(
                input_tokens=reply.n_window,
                output_tokens=reply.n_tokens,
                total_tokens=reply.n_window + reply.n_tokens,
            ),
        )

    # tokens and names

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of a text as it stands inside a message; loads the model."""
        [ids] = self._home.token_ids([text])
        return ids

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return the tokens of the messages, their borders included; loads the model."""
        if tools:
            raise RefusedCall("this model calls no tools", hint="Count without them.")
        with translated():
            told = [lived(message) for message in messages]
        return sum(map(len, self._home.token_ids(told)))

    @property
    def _home(self) -> Home:
        return Home(self._key if self.memory is None else self.memory)

    @cached_property
    def _key(self) -> Key:
        """What is not given comes from the settings, once."""
        settings = Settings() if self.db is None else Settings(db=self.db)
        return Key(settings.database(), settings.data, self._model, self.passes)

    @cached_property
    def _model(self) -> str:
        return self.model_name or Settings().model

    @property
    def _llm_type(self) -> str:
        return "sleepmem-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "model_name": self._model,
            "agent_id": self.agent_id,
            "thread": self.thread,
            "passes": self.passes,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "stop": self.stop,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = PROVIDER
        params["ls_model_name"] = kwargs.get("model") or self._model
        return params
