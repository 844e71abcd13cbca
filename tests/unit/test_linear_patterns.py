"""No pattern takes more than linear time for any external text.

Linear work takes seconds here, quadratic work hours, exponential work years: the limit is a guard against a hang.
"""

import subprocess
import sys

import pytest

from predictive_scaling.external_metrics.selector import MAX_CHARACTERS, MAX_REQUIREMENTS, SelectorError, parse_selector
from tests.support.long_texts import READERS

HANG_SECONDS = 120
"""Of CPU time."""


@pytest.mark.parametrize("reader", list(READERS))
def test_text_of_any_shape_and_maximum_length_is_read_in_linear_time(reader: str) -> None:
    subprocess.run([sys.executable, "-m", "tests.support.long_texts", reader, str(HANG_SECONDS)], check=True)


def test_a_selector_has_a_maximum_length() -> None:
    with pytest.raises(SelectorError, match=f"at most {MAX_CHARACTERS}"):
        parse_selector("a" * (MAX_CHARACTERS + 1))


def test_a_selector_has_a_maximum_number_of_requirements() -> None:
    assert len(parse_selector(",".join(["a"] * MAX_REQUIREMENTS)).requirements) == MAX_REQUIREMENTS
    with pytest.raises(SelectorError, match=f"more than {MAX_REQUIREMENTS} requirements"):
        parse_selector(",".join(["a"] * (MAX_REQUIREMENTS + 1)))
