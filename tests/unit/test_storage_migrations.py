"""The files of the schema."""

from predictive_scaling.storage.schema import migrations


def test_each_migration_has_a_number_of_its_own_in_one_row() -> None:
    numbers = [migration.version for migration in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
