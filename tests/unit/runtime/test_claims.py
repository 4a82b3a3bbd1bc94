"""Two processes and one agent: the one that claimed it last may write."""

from __future__ import annotations

import pytest
from home import Home, Hooked

from sleepmem.errors import LeaseLost
from sleepmem.policy import TokenBudget


async def test_claim_elsewhere_ends_this_one(home: Home) -> None:
    async with home.memory() as one, home.memory() as two:
        ours = await one.agent("ana")
        await ours.say("pet=rex")
        theirs = await two.agent("ana", take_over=True)
        assert (await theirs.say("pet?")).text == "rex"
        for call in (ours.say("pet?"), ours.observe("x"), ours.sleep()):
            with pytest.raises(LeaseLost):
                await call
        assert len(await home.contents("ana")) == 4
        # opened again it is ours again, and it knows what happened meanwhile
        again = await one.agent("ana", take_over=True)
        expected = await home.reply_to("ana", "so?")
        assert (await again.say("so?")).text == expected
        with pytest.raises(LeaseLost):
            await theirs.say("pet?")
    await home.check("ana")


async def test_prompt_that_changed_elsewhere_is_read(home: Home) -> None:
    async with home.memory() as one, home.memory() as two:
        ours = (await one.agent("ana")).thread("work", system="be brief")
        await ours.say("pet=rex")
        theirs = (await two.agent("ana", take_over=True)).thread("work", system="be kind")
        await theirs.say("hello")
        again = (await one.agent("ana")).thread("work")
        with pytest.raises(LeaseLost):
            await again.say("so?")
        again = (await one.agent("ana", take_over=True)).thread("work")
        expected = await home.reply_to("ana", "so?", "work")
        assert (await again.say("so?")).text == expected
    assert [row.system for row in await home.log.threads("ana")] == ["be kind"]


async def test_claim_elsewhere_during_a_reply_is_never_answered(home: Home) -> None:
    async with home.memory() as one, home.memory() as two:
        ours = await one.agent("ana")
        stream = ours.stream("hello")
        await anext(stream)
        await two.agent("ana", take_over=True)
        with pytest.raises(LeaseLost):
            async for _ in stream:
                pass
    assert await home.contents("ana") == []


async def test_reply_begun_under_a_claim_that_was_lost_is_never_answered(home: Home) -> None:
    """Also if the agent was claimed again meanwhile: what it was computed from may be outdated."""
    async with home.memory() as one, home.memory() as two:
        ours = await one.agent("ana")
        work = ours.thread("work", system="be brief")
        stream = work.stream("hello", request_id="r")
        await anext(stream)
        theirs = await two.agent("ana", take_over=True)
        await theirs.thread("work", system="be kind").stats()
        with pytest.raises(LeaseLost):
            await ours.say("are you there?")
        await one.agent("ana", take_over=True)
        with pytest.raises(LeaseLost):
            async for _ in stream:
                pass
        assert await home.contents("ana") == []
        expected = await home.reply_to("ana", "hello", "work")
        assert (await work.say("hello", request_id="r")).text == expected


async def test_claim_elsewhere_after_the_commit_does_not_hide_the_reply(home: Home) -> None:
    async def claim(name: str, when: str) -> None:
        if (name, when) == ("finish", "after"):
            home.log._inner._agents["ana"].epoch += 1

    home.log = Hooked(home.log, claim)
    async with home.memory(policy=TokenBudget(5)) as memory:
        ana = await memory.agent("ana")
        assert (await ana.say("hello there")).text
        with pytest.raises(LeaseLost):
            await ana.say("more")


async def test_old_handle_of_a_deleted_agent_cannot_write_for_a_new_one(home: Home) -> None:
    async with home.memory() as memory:
        ghost = await memory.agent("ana")
        await ghost.say("pet=rex")
        await memory.delete_agent("ana")
        ana = await memory.agent("ana")
        with pytest.raises(LeaseLost):
            await ghost.say("pet=tom")
        assert (await ana.say("pet?")).text == "unknown"
    assert await home.contents("ana") == ["pet?", "unknown"]


async def test_namesake_born_during_a_deletion_keeps_its_bytes(home: Home) -> None:
    async with home.memory() as memory, home.memory() as other:
        ghost = await memory.agent("ana")
        await ghost.say("pet=rex and more")
        await ghost.sleep()
        old = set(home.snapshots.data)

        async def be_born(name: str, when: str) -> None:
            if (name, when) == ("delete_agent", "after"):
                ana = await other.agent("ana")
                await ana.say("pet=tom and more")
                await ana.sleep()

        memory._open_house().log = Hooked(home.log, be_born)
        await memory.delete_agent("ana")
    await home.check("ana")
    assert len(home.snapshots.data) == 1
    assert old.isdisjoint(home.snapshots.data)
