"""Manifests in files are refused for the same mistakes as at the API server, in the same words where we chose them."""

import re

import pytest

from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import parse_event
from predictive_scaling.resources.scaling_decision import parse_decision
from predictive_scaling.resources.scaling_policy import parse_policy
from tests.support.refusals import Refusal, refusals

PARSE = {"ScalingPolicy": parse_policy, "BusinessEvent": parse_event, "ScalingDecision": parse_decision}
# The API server keeps lists of this type free of duplicates; a date that is excluded twice harms nobody.
HARMLESS = {"event-excluded-date-twice"}


@pytest.mark.parametrize(
    "refusal", [refusal for refusal in refusals() if refusal.name not in HARMLESS], ids=lambda refusal: refusal.name
)
def test_a_wrong_manifest_is_refused_with_its_field_named(refusal: Refusal) -> None:
    with pytest.raises(InvalidManifestError) as refused:
        PARSE[refusal.wrong["kind"]](refusal.wrong)

    path = re.sub(r"\[(\d+)\]", r".\1", refusal.field)
    assert path in str(refused.value)
    assert "; " + "spec" not in str(refused.value).partition(path)[2], "a second mistake is named"


@pytest.mark.parametrize("refusal", refusals(), ids=lambda refusal: refusal.name)
def test_it_is_read_once_its_mistake_is_mended(refusal: Refusal) -> None:
    assert PARSE[refusal.mended["kind"]](refusal.mended).metadata.name == refusal.mended["metadata"]["name"]


def test_there_are_refusals_of_every_kind() -> None:
    kinds = [refusal.wrong["kind"] for refusal in refusals()]

    assert set(kinds) == set(PARSE)
    assert len(kinds) >= 45
