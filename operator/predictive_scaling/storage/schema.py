"""Whether the database's schema is the one that this code needs."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

import psycopg

from predictive_scaling.errors import SchemaError
from predictive_scaling.storage.database import Database

_FILE = re.compile(r"(\d{4})_(\w+)\.(pre|post)\.sql")

APPLIED = "select version, name, checksum from schema_migrations order by version"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. `pre` may run before the new code is there, `post` only after the old code is gone."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """All that this code knows, in order; they ship with it."""
    folder = resources.files("predictive_scaling.storage").joinpath("migrations")
    found = [
        Migration(int(match[1]), f"{match[2]}.{match[3]}", file.read_text("utf-8"))
        for file in folder.iterdir()
        if (match := _FILE.fullmatch(file.name))
    ]
    return tuple(sorted(found, key=lambda migration: migration.version))


async def check_schema(database: Database) -> None:
    """Raises SchemaError unless the schema is the one this code needs, DatabaseUnavailableError when unknown."""
    needed = migrations()[-1].version
    try:
        async with database.connection() as connection:
            rows = await (await connection.execute(APPLIED)).fetchall()
    except psycopg.errors.UndefinedTable:
        rows = []
    found = rows[-1][0] if rows else None
    if found is None or found < needed:
        have = "has no schema yet" if found is None else f"has schema version {found}"
        raise SchemaError(f"{database.where} {have}, this code needs {needed}; run `predictive-scaling migrate`")
    if found > needed:
        raise SchemaError(
            f"{database.where} has schema version {found}, this code knows {needed} at most; run a release "
            "as new as the one that ran `predictive-scaling migrate`"
        )
