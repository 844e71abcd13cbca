"""The files of the schema."""

from predictive_scaling.storage.schema import migrations


def test_migrations_are_numbered_consecutively() -> None:
    numbers = [migration.version for migration in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
