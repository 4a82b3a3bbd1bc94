"""What every `EpisodeLog` must do; subclass it, give a fixture `log`, and all of it is judged.

    class TestMyLog(EpisodeLogContract):
        @pytest.fixture
        async def log(self) -> AsyncIterator[EpisodeLog]: ...     # empty, closed afterwards

Agents, threads and turns are judged here, episodes and sleeps in `sleep_contract`, what is kept of
snapshots in `history_contract`.
"""

from __future__ import annotations

import pytest

from sleepmem.errors import (
    AgentNotFound,
    BranchNotFound,
    ConfigError,
    Conflict,
    FingerprintMismatch,
    InvalidMessage,
    LeaseLost,
    MisuseError,
    StoreError,
)
from sleepmem.history import LogEntry
from sleepmem.protocols import EpisodeLog
from sleepmem.testing.history_contract import HistoryContract
from sleepmem.testing.lease_contract import LeaseContract
from sleepmem.testing.life import BIRTH, FINGERPRINT, Life
from sleepmem.testing.sleep_contract import SleepContract
from sleepmem.types import MAIN, Head, LoggedMessage, Role, Thread, ToolCall, TurnState

IMPOSSIBLE_NAMES = ["", "a\0b", "a\nb", "\ud800", "x" * 10_000]


async def entries(log: EpisodeLog, agent: str, search: str | None = None) -> list[LogEntry]:
    return [entry async for entry in log.entries(agent, search=search)]


class AgentContract:
    """Claims, agents, branches and threads."""

    async def test_claim_creates_the_agent_with_branch_main(self, log: EpisodeLog) -> None:
        assert await log.agents() == []
        life = await Life.born(log, "ana")
        assert life.epoch > 0
        assert await log.head("ana", MAIN) == Head(episode=None, snapshot=None)
        summary = await log.summary("ana")
        assert (summary.agent, summary.fingerprint) == ("ana", FINGERPRINT)
        assert (summary.branches, summary.n_turns, summary.n_episodes) == ((MAIN,), 0, 0)
        assert summary.last_turn_at is None

    async def test_claim_bumps_the_epoch_and_fences_the_old_owner(self, log: EpisodeLog) -> None:
        old = await Life.born(log)
        turn = await old.stage()
        new = await Life.born(log)
        assert new.epoch == old.epoch + 1
        with pytest.raises(LeaseLost) as caught:
            await old.stage()
        assert (caught.value.agent, caught.value.epoch) == ("ana", old.epoch)
        with pytest.raises(LeaseLost):
            await old.finish(turn)
        with pytest.raises(LeaseLost):
            await old.sleep(stop=3)
        with pytest.raises(LeaseLost):
            await old.fail_to_sleep(None, 0, 3)
        with pytest.raises(LeaseLost):
            await old.on("other")
        await new.finish(turn)
        assert await log.head("ana", MAIN) == Head(episode=None, snapshot=None)

    async def test_delete_takes_all_of_an_agent_and_nothing_of_another(
        self, log: EpisodeLog
    ) -> None:
        ana, bob = await Life.born(log, "ana"), await Life.born(log, "bob")
        for life in (ana, bob):
            await life.stage(done=True)
            await life.sleep(stop=3)
            await life.stage(done=True, request_id="again")
        before = await entries(log, "bob"), await log.lineage("bob", MAIN)
        await log.delete_agent("ana", now=BIRTH)
        assert [summary.agent for summary in await log.agents()] == ["bob"]
        assert (await entries(log, "bob"), await log.lineage("bob", MAIN)) == before
        for attempt in (
            log.summary("ana"),
            log.lineage("ana", MAIN),
            log.delete_agent("ana", now=BIRTH),
        ):
            with pytest.raises(AgentNotFound):
                await attempt
        with pytest.raises((AgentNotFound, LeaseLost)):
            await ana.stage()
        reborn = await Life.born(log, "ana")
        assert (await log.summary("ana")).n_turns == 0
        assert (await reborn.stage(done=True, request_id="again")).start == 0
        # its thread may have got the row id of the old one
        ghost = Life(log, reborn.thread, ana.epoch, ana._ids)
        with pytest.raises(LeaseLost):
            await ghost.stage(done=True)
        await bob.stage(done=True)

    async def test_claim_of_an_unknown_agent_is_refused(self, log: EpisodeLog) -> None:
        with pytest.raises(AgentNotFound):
            await log.claim("bob", fingerprint="f", holder="h", create=False, now=BIRTH)
        assert await log.agents() == []

    async def test_claim_with_another_model_is_refused_and_fences_nobody(
        self, log: EpisodeLog
    ) -> None:
        life = await Life.born(log)
        with pytest.raises(FingerprintMismatch):
            await log.claim("ana", fingerprint="0" * 64, holder="h", create=True, now=BIRTH)
        await life.stage()

    @pytest.mark.parametrize("name", IMPOSSIBLE_NAMES)
    async def test_impossible_names_are_refused_in_one_line(
        self, log: EpisodeLog, name: str
    ) -> None:
        life = await Life.born(log)
        for attempt in (Life.born(log, name), life.on(name), life.stage(request_id=name)):
            with pytest.raises(ConfigError) as caught:
                await attempt
            assert "\n" not in str(caught.value)
        with pytest.raises(AgentNotFound):
            await log.summary(name)
        with pytest.raises(BranchNotFound):
            await log.head("ana", name)
        assert (await log.summary("ana")).n_turns == 0

    @pytest.mark.parametrize("name", ["Ana", "a'b\"; DROP TABLE x--", "%_\\", "名前", "🦊" * 255])
    async def test_any_printable_name_is_kept_apart(self, log: EpisodeLog, name: str) -> None:
        await Life.born(log, "ana")
        life = await Life.born(log, name, thread=name)
        turn = await life.stage(done=True, request_id=name)
        assert await log.turn_of_request(name, name) == turn
        assert await log.turn_of_request("ana", name) is None
        assert [summary.agent for summary in await log.agents()] == sorted(["ana", name])
        assert [thread.name for thread in await log.threads(name)] == [name]

    async def test_unknown_agents_and_branches_are_not_found(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        for attempt in (log.summary("bob"), log.threads("bob"), log.head("bob", MAIN)):
            with pytest.raises(AgentNotFound):
                await attempt
        with pytest.raises(AgentNotFound):
            await log.lineage("bob", MAIN)
        with pytest.raises(AgentNotFound):
            await entries(log, "bob")
        with pytest.raises(BranchNotFound):
            await log.head("ana", "other")
        with pytest.raises(BranchNotFound):
            await log.lineage("ana", "other")
        with pytest.raises(BranchNotFound):
            await log.thread("ana", life.epoch, branch="other", name="t", system=None)
        assert await log.turn_of_request("bob", "r") is None

    async def test_thread_keeps_its_id_and_its_prompt(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        prompts = ["Be\0 kind.", None, "Be brief.", "", None]
        opened = [
            await log.thread("ana", life.epoch, branch=MAIN, name="t", system=prompt)
            for prompt in prompts
        ]
        assert len({thread.id for thread in opened}) == 1
        kept = [thread.system for thread in opened]
        assert kept == ["Be\0 kind.", "Be\0 kind.", "Be brief.", "", ""]
        assert await log.threads("ana") == [life.thread, opened[-1]]

    async def test_threads_of_two_agents_have_ids_of_their_own(self, log: EpisodeLog) -> None:
        ana, bob = await Life.born(log, "ana"), await Life.born(log, "bob")
        assert ana.thread.id != bob.thread.id
        assert await log.threads("bob") == [bob.thread]
        forged = Thread(id=ana.thread.id, agent="bob", branch=MAIN, name=MAIN, system=None)
        await ana.stage(done=True)
        with pytest.raises(MisuseError):
            await Life(log, forged, bob.epoch, bob._ids).stage()
        with pytest.raises(MisuseError):
            await log.open_episode(forged)


class TurnContract:
    """Turns, streams and the messages of a life."""

    async def test_turns_follow_each_other_without_a_gap(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        first = await life.finish(await life.stage(), n_tokens=2)
        second = await life.stage(life.message(n_tokens=1), life.message(n_tokens=4), done=True)
        assert (first.start, first.stop, first.state) == (0, 5, TurnState.DONE)
        assert (second.start, second.stop, second.seq) == (5, 10, first.seq + 1)
        assert first.reply == first.messages[-1]
        assert second.reply is None
        ids = [i for turn in (first, second) for m in turn.messages for i in m.token_ids]
        assert await log.tokens(life.thread.id, 0, 10) == ids
        assert await log.tokens(life.thread.id, 4, 7) == ids[4:7]
        assert await log.tokens(life.thread.id, 7, 7) == []

    async def test_turn_comes_back_as_it_was_staged(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        call = ToolCall(id="c\0\ud800", name="n", arguments='{"a": "\\u0000é"}')
        asked = LoggedMessage(
            role=Role.ASSISTANT, content="", tool_calls=(call, call), token_ids=(0, 2**32 - 1)
        )
        answer = LoggedMessage(
            role=Role.TOOL, content="\0\x10@\x10P 🦊\r\n", tool_call_id="c\0", token_ids=(7,)
        )
        turn = await life.stage(asked, answer, request_id="r")
        assert await log.turn_of_request("ana", "r") == turn
        done = await life.finish(turn)
        assert await log.turn_of_request("ana", "r") == done
        assert (await log.open_episode(life.thread)).turns == (done,)
        assert turn.created_at.utcoffset() is not None

    async def test_stage_abandons_what_was_staged(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        await life.stage(done=True)
        cut = await life.stage(life.message(n_tokens=9))
        turn = await life.stage(done=True)
        assert (turn.start, turn.stop) == (3, 6)
        with pytest.raises(Conflict):
            await life.finish(cut)
        opened = await log.open_episode(life.thread)
        assert [turn.seq for turn in opened.turns] == [1, 3]
        states = [entry.state for entry in await entries(log, "ana")]
        assert states == [TurnState.DONE, TurnState.ABANDONED, TurnState.DONE]
        assert (await log.summary("ana")).n_turns == 2

    async def test_stage_leaves_other_threads_alone(self, log: EpisodeLog) -> None:
        main = await Life.born(log)
        other = await main.on("other")
        turn = await main.stage()
        later = await other.stage()
        assert (later.start, later.seq) == (0, turn.seq + 1)
        assert (await main.finish(turn)).state is TurnState.DONE

    async def test_known_request_is_a_conflict_that_changes_nothing(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        await life.finish(await life.stage(request_id="r"))
        staged = await life.stage(request_id="s")
        for request_id in ("r", "s"):
            with pytest.raises(Conflict):
                await life.stage(request_id=request_id)
        assert await log.turn_of_request("ana", "s") == staged
        await (await Life.born(log, "bob")).stage(request_id="r")

    async def test_request_of_an_abandoned_turn_is_free_again(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        await life.stage(request_id="r")
        await life.stage()
        assert await log.turn_of_request("ana", "r") is None
        again = await life.stage(request_id="r")
        assert await log.turn_of_request("ana", "r") == again

    async def test_turn_without_ids_is_logged_but_not_lived(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        for n_tokens in (0, 2, 0, 1, 0):
            await life.stage(life.message(n_tokens=n_tokens), done=True)
        opened = await log.open_episode(life.thread)
        assert [turn.seq for turn in opened.turns] == [2, 4]
        assert len(await entries(log, "ana")) == 5

    async def test_finish_twice_is_a_conflict(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        turn = await life.stage()
        await life.finish(turn)
        with pytest.raises(Conflict):
            await life.finish(turn)
        with pytest.raises(Conflict):
            await life.finish(turn.model_copy(update={"id": "unknown", "seq": 99}))
        assert len(await entries(log, "ana")) == 2

    async def test_messages_that_no_store_can_hold_are_refused(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        turn = await life.stage(request_id="r")
        half = LoggedMessage(role=Role.USER, content="\ud83e", token_ids=(1,))
        for message in (half, half.model_copy(update={"content": "x", "token_ids": (2**32,)})):
            with pytest.raises(InvalidMessage):
                await life.stage(message)
        assert await log.turn_of_request("ana", "r") == turn

    async def test_tokens_that_are_not_there_are_an_error(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        await life.stage(done=True)
        for thread_id, start, stop in ((life.thread.id, 0, 4), (life.thread.id, 5, 6), (999, 0, 1)):
            with pytest.raises(StoreError):
                await log.tokens(thread_id, start, stop)
        for start, stop in ((-1, 2), (2, 1)):
            with pytest.raises(ConfigError):
                await log.tokens(life.thread.id, start, stop)

    async def test_messages_between_lie_wholly_inside(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        messages = [life.message(str(n), n_tokens=n) for n in (2, 0, 3, 1)]
        await life.stage(*messages[:2], done=True)
        await life.stage(life.message("cut", n_tokens=5))
        await life.stage(*messages[2:], done=True)
        between = log.messages_between
        assert await between(life.thread.id, 0, 6) == [messages[0], messages[2], messages[3]]
        assert await between(life.thread.id, 1, 5) == [messages[2]]
        assert await between(life.thread.id, 0, 2) == [messages[0]]
        assert await between(life.thread.id, 3, 5) == []

    async def test_ids_between_are_those_of_messages_of_the_roles(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        one, two, three = (life.message(str(n), n_tokens=n) for n in (2, 1, 3))
        calling = two.model_copy(update={"role": Role.ASSISTANT})
        await life.stage(one, calling, done=True)
        await life.stage(life.message("cut", n_tokens=5))
        await life.stage(three, done=True)
        between, said = log.ids_between, frozenset({Role.USER, Role.TOOL})
        assert await between(life.thread.id, 0, 6, said) == [one.token_ids, three.token_ids]
        assert await between(life.thread.id, 0, 5, said) == [one.token_ids]
        assert await between(life.thread.id, 1, 6, said) == [three.token_ids]
        assert await between(life.thread.id, 0, 6, frozenset({Role.ASSISTANT})) == [two.token_ids]
        assert await between(life.thread.id, 0, 6, frozenset()) == []
        assert await between(life.thread.id, 6, 9, said) == []
        with pytest.raises(ConfigError):
            await between(life.thread.id, 2, 1, said)

    async def test_entries_come_in_the_order_of_life(self, log: EpisodeLog) -> None:
        main = await Life.born(log)
        other = await main.on("other")
        turn = await main.finish(await main.stage(main.message("one", 4), main.message("two", 0)))
        await other.stage(other.message("three", 1))
        found = await entries(log, "ana")
        assert [entry.content for entry in found] == ["one", "two", "a reply", "three"]
        assert [entry.n_tokens for entry in found] == [4, 0, 2, 1]
        assert [entry.thread for entry in found] == [MAIN] * 3 + ["other"]
        assert [entry.seq for entry in found] == [1, 1, 1, 2]
        assert (found[0].turn, found[0].created_at) == (turn.id, turn.created_at)
        assert (found[3].state, found[2].role) == (TurnState.STAGED, Role.ASSISTANT)

    @pytest.mark.parametrize(
        ("search", "expected"),
        [
            ("REX", [0]),
            ("%", [1]),
            ("_", [2]),
            ("\\", [2]),
            ("ÄRGER", [3]),
            ("rger", [3]),
            ("\0", [4]),
            ("after", [4]),
            ("' OR 1=1", []),
            ("\ud800", []),
            ("x" * 60_000, []),
            ("", [0, 1, 2, 3, 4]),
        ],
    )
    async def test_search_finds_plain_text(
        self, log: EpisodeLog, search: str, expected: list[int]
    ) -> None:
        life = await Life.born(log)
        contents = ["My dog Rex", "100 % sure", "a\\b_c", "Ärger", "nul\0after"]
        await life.stage(*(life.message(content, 1) for content in contents), done=True)
        found = [entry.content for entry in await entries(log, "ana", search)]
        assert found == [contents[i] for i in expected]

    async def test_agents_never_see_each_other(self, log: EpisodeLog) -> None:
        ana, bob = await Life.born(log, "ana"), await Life.born(log, "bob")
        await ana.stage(ana.message("canary"), done=True)
        await bob.stage(bob.message("bob's"), done=True)
        await bob.sleep()
        assert [entry.content for entry in await entries(log, "ana")] == ["canary"]
        assert await entries(log, "bob", "canary") == []
        assert await log.head("ana", MAIN) == Head(episode=None, snapshot=None)
        assert [(s.agent, s.n_turns, s.n_episodes) for s in await log.agents()] == [
            ("ana", 1, 0),
            ("bob", 1, 1),
        ]


class EpisodeLogContract(
    AgentContract, LeaseContract, TurnContract, SleepContract, HistoryContract
):
    """The suite."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def log(self) -> EpisodeLog:
        raise NotImplementedError("give a fixture `log` that returns the empty log to be judged")
