"""The migrations and the check of the database's schema version."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

import psycopg

from predictive_scaling.errors import SchemaError
from predictive_scaling.storage.database import Database

_FILE = re.compile(r"(\d{4})_(\w+)\.(pre|post)\.sql")
_UPGRADE = re.compile(r"(\d{4})_\w+\.from((?:_[0-9a-f]{8})+)\.sql")
"""The upgrade of a database to which earlier contents of a migration were applied; the name has their checksums."""

APPLIED = "select version, name, checksum from schema_migrations order by version"


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration. `pre` may run before the new code is deployed, `post` only after the old code is removed."""

    version: int
    name: str
    sql: str
    upgrades: Mapping[str, str] = field(default_factory=dict[str, str])
    """SQL that turns the result of earlier contents into the result of `sql`, by the start of their checksum."""

    def upgrade(self, checksum: str) -> str | None:
        """Return the SQL that upgrades a database to which the contents of this checksum were applied."""
        return self.upgrades.get(checksum[:8])

    @property
    def checksum(self) -> str:
        """The SHA-256 of the SQL."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """Return all migrations of this release, in order."""
    files = list(resources.files("predictive_scaling.storage").joinpath("migrations").iterdir())
    upgrades: dict[int, dict[str, str]] = {}
    for file in files:
        if match := _UPGRADE.fullmatch(file.name):
            earlier = dict.fromkeys(match[2].split("_")[1:], file.read_text("utf-8"))
            upgrades.setdefault(int(match[1]), {}).update(earlier)
    steps = [
        Migration(version, f"{match[2]}.{match[3]}", file.read_text("utf-8"), upgrades.get(version, {}))
        for file in files
        if (match := _FILE.fullmatch(file.name))
        for version in [int(match[1])]
    ]
    return tuple(sorted(steps, key=lambda migration: migration.version))


async def check_schema(database: Database) -> None:
    """Raise SchemaError unless the database has the schema of this code, DatabaseUnavailableError if unknown."""
    needed = {migration.version for migration in migrations()}
    try:
        async with database.connection() as connection:
            rows = await (await connection.execute(APPLIED)).fetchall()
    except psycopg.errors.UndefinedTable:
        rows = []
    applied = {version for version, _, _ in rows}
    newest = max(needed)
    if (current := max(applied, default=0)) > newest:
        raise SchemaError(
            f"{database.where} has schema version {current}, this code supports up to {newest}; run the "
            "release that ran `predictive-scaling migrate`, or a newer release"
        )
    if missing := needed - applied:
        state = _state(applied, missing)
        raise SchemaError(f"{database.where} {state}, this code needs {newest}; run `predictive-scaling migrate`")


def _state(applied: set[int], missing: set[int]) -> str:
    if not applied:
        return "has no schema"
    if min(missing) > max(applied):
        return f"has schema version {max(applied)}"
    return f"has schema version {max(applied)} without {', '.join(map(str, sorted(missing)))}"
