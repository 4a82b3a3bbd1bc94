"""A new database is made ready once, an older or newer one is refused, every way back works."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, create_engine, inspect, text

from sleepmem.errors import SchemaMismatch, StoreError
from sleepmem.store import SnapshotRows, open_log
from sleepmem.store.engine import normalised, sync_engine
from sleepmem.store.migrate import alembic_config, check, current, head, script_location, upgrade
from sleepmem.store.schema import metadata
from sleepmem.testing.life import BIRTH, Life, history

OPEN = """
import asyncio, sys
from sleepmem.store import open_log

async def main() -> None:
    log = await open_log(sys.argv[1])
    await log.claim(sys.argv[2], fingerprint="f", holder="h", create=True, now=NOW)
    await log.aclose()

from datetime import UTC, datetime
NOW = datetime.now(UTC)
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    # alembic must not interpolate the path
    return f"sqlite:///{tmp_path / '100% sure.db'}"


def execute(url: str, statement: str) -> None:
    with sync_engine(normalised(url)).begin() as connection:
        connection.execute(text(statement))


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def live(url: str) -> None:
    """Fill every table."""
    log = await open_log(url)
    life = await Life.born(log)
    await life.finish(await life.stage(request_id="r"))
    await life.fail_to_sleep("e", 0, 5)
    await life.sleep()
    await SnapshotRows(log).put("ana", b"fast weights")
    await Life.born(log, "bob")
    await log.delete_agent("bob", now=BIRTH)
    await log.aclose()


async def test_new_database_is_migrated_on_first_use(url: str) -> None:
    assert await current(url) is None
    await (await open_log(url)).aclose()
    assert await current(url) == head()
    assert await check(url) == head()


async def test_current_and_check_make_no_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'agents.db'}"
    assert await current(url) is None
    with pytest.raises(SchemaMismatch):
        await check(url)
    assert files(tmp_path) == []


async def test_upgrade_twice_is_harmless(url: str) -> None:
    assert await upgrade(url) == head()
    await live(url)
    assert await upgrade(url) == head()
    log = await open_log(url)
    assert (await log.summary("ana")).n_episodes == 1
    await log.aclose()


async def test_tables_of_others_do_not_matter(url: str) -> None:
    execute(url, "CREATE TABLE guest (id INTEGER PRIMARY KEY)")
    execute(url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    execute(url, "INSERT INTO alembic_version VALUES ('theirs')")
    await live(url)
    assert await check(url) == head()


async def test_up_down_up_with_rows(url: str) -> None:
    await live(url)

    def down(connection: Connection) -> None:
        command.downgrade(alembic_config(connection), "base")

    def tables() -> set[str]:
        with engine.connect() as connection:
            return set(inspect(connection).get_table_names())

    engine = sync_engine(normalised(url))
    assert tables() == {*metadata.tables, "sleepmem_schema_version"}
    with engine.begin() as connection:
        down(connection)
    assert tables() == {"sleepmem_schema_version"}
    await upgrade(url)
    await live(url)
    assert await check(url) == head()


async def test_migrated_indexes_have_the_conditions_of_the_schema(url: str) -> None:
    """Alembic compares columns alone."""

    def conditions() -> dict[str, str]:
        with engine.connect() as connection:
            look = inspect(connection)
            return {
                str(index["name"]): str(where)
                for table in metadata.tables
                for index in look.get_indexes(table)
                if (where := index["dialect_options"].get(f"{engine.dialect.name}_where"))
                is not None
            }

    await upgrade(url)
    engine = sync_engine(normalised(url))
    migrated = conditions()
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
        metadata.create_all(connection)
    assert conditions() == migrated
    with engine.begin() as connection:
        metadata.drop_all(connection)
    assert "request_id IS NOT NULL" in migrated["uq_sleepmem_turn_agent_id_request_id"]


async def test_way_back_drops_only_the_tables_that_came_since(url: str) -> None:
    await live(url)

    def counts() -> dict[str, int]:
        with sync_engine(normalised(url)).connect() as connection:
            names = set(inspect(connection).get_table_names()) & {*metadata.tables}
            return {
                name: connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in names
            }

    before = counts()
    assert 0 not in before.values()
    with sync_engine(normalised(url)).begin() as connection:
        command.downgrade(alembic_config(connection), "0001")
    newer = ("sleepmem_snapshot_chunk", "sleepmem_deletion")
    for name in newer:
        del before[name]
    assert counts() == before
    with pytest.raises(SchemaMismatch):
        await open_log(url)
    await upgrade(url)
    assert counts() == before | dict.fromkeys(newer, 0)
    assert await check(url) == head()


async def test_marks_come_and_go_with_their_columns(url: str) -> None:
    await live(url)
    log = await open_log(url)
    [episode] = (await history(log, "ana")).episodes
    await log.pin("ana", episode.id, True)
    await log.aclose()
    with sync_engine(normalised(url)).begin() as connection:
        command.downgrade(alembic_config(connection), "0002")
    with pytest.raises(SchemaMismatch):
        await open_log(url)
    await upgrade(url)
    assert await check(url) == head()
    log = await open_log(url)
    assert (await history(log, "ana")).episodes == [episode]
    assert (await log.head("ana", "main")).episode == episode.id
    await log.aclose()


async def test_older_database_is_refused_until_asked(url: str) -> None:
    await live(url)
    execute(url, "DELETE FROM sleepmem_schema_version")
    for attempt in (open_log, check):
        with pytest.raises(SchemaMismatch) as caught:
            await attempt(url)
        assert not caught.value.newer
        assert "sleepmem db upgrade" in caught.value.hint


async def test_newer_database_is_refused_always(url: str) -> None:
    await live(url)
    execute(url, "UPDATE sleepmem_schema_version SET version_num = '9999'")
    for attempt in (open_log, check, upgrade):
        with pytest.raises(SchemaMismatch) as caught:
            await attempt(url)
        assert (caught.value.found, caught.value.newer) == ("9999", True)
    assert await current(url) == "9999"


async def test_check_sees_tables_changed_by_hand(url: str) -> None:
    await live(url)
    execute(url, "ALTER TABLE sleepmem_agent ADD COLUMN surprise TEXT")
    with pytest.raises(StoreError, match="surprise"):
        await check(url)


async def test_failed_upgrade_changes_nothing(url: str) -> None:
    # in the way of the last table that the first revision makes
    execute(url, "CREATE TABLE sleepmem_sleep (id INTEGER PRIMARY KEY)")
    with pytest.raises(StoreError):
        await upgrade(url)
    engine = create_engine(sync_engine(normalised(url)).url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["sleepmem_sleep"]
    engine.dispose()


async def test_many_tasks_open_a_new_database_at_once(url: str) -> None:
    logs = await asyncio.gather(*(open_log(url) for _ in range(4)))
    assert await check(url) == head()
    await asyncio.gather(*(log.aclose() for log in logs))


def test_four_processes_open_a_new_database_at_once(url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, url, f"agent-{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    problems = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, problems

    async def names() -> list[str]:
        log = await open_log(url)
        found = [summary.agent for summary in await log.agents()]
        await log.aclose()
        return found

    assert asyncio.run(names()) == [f"agent-{n}" for n in range(4)]


def test_history_has_one_head_and_says_what_it_does() -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(alembic_config())
    assert scripts.get_heads() == [head()]
    for script in scripts.walk_revisions():
        assert not script.is_branch_point
        assert Path(script.path).name.startswith(f"{script.revision}_")
        assert script.doc


def test_versions_import_nothing_of_the_application() -> None:
    versions = list((script_location() / "versions").glob("*.py"))
    assert versions
    for path in versions:
        nodes = ast.walk(ast.parse(path.read_text()))
        names = [name for node in nodes for name in imported(node)]
        assert not [name for name in names if name.startswith("sleepmem")]
