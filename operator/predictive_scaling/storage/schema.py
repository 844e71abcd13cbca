"""The migrations and the check of the database's schema version."""

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
    """A migration. `pre` may run before the new code is deployed, `post` only after the old code is removed."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """The SHA-256 of the SQL."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """Return all migrations of this release, in order."""
    folder = resources.files("predictive_scaling.storage").joinpath("migrations")
    steps = [
        Migration(int(match[1]), f"{match[2]}.{match[3]}", file.read_text("utf-8"))
        for file in folder.iterdir()
        if (match := _FILE.fullmatch(file.name))
    ]
    return tuple(sorted(steps, key=lambda migration: migration.version))


async def check_schema(database: Database) -> None:
    """Raise SchemaError unless the database has the schema of this code, DatabaseUnavailableError if unknown."""
    needed = migrations()[-1].version
    try:
        async with database.connection() as connection:
            rows = await (await connection.execute(APPLIED)).fetchall()
    except psycopg.errors.UndefinedTable:
        rows = []
    current = rows[-1][0] if rows else None
    if current is None or current < needed:
        state = "has no schema" if current is None else f"has schema version {current}"
        raise SchemaError(f"{database.where} {state}, this code needs {needed}; run `predictive-scaling migrate`")
    if current > needed:
        raise SchemaError(
            f"{database.where} has schema version {current}, this code supports up to {needed}; run the "
            "release that ran `predictive-scaling migrate`, or a newer release"
        )
