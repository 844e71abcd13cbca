"""The README of the chart is what helm-docs generates from values.yaml."""

from predictive_scaling.commands.chart import readme
from tests.support.helm import CHART


async def test_the_committed_readme_is_the_generated_one() -> None:
    assert (CHART / "README.md").read_text() == await readme(CHART), "run `make chart` and commit the result"
