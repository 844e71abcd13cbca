"""Manifests in files are refused for the same mistakes as at the API server, where possible with the same message."""

import re

import pytest

from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import parse_event
from predictive_scaling.resources.scaling_backtest import parse_backtest
from predictive_scaling.resources.scaling_decision import parse_decision
from predictive_scaling.resources.scaling_policy import parse_policy
from tests.support.refused_manifests import RefusedManifest, refused_manifests

PARSE = {
    "ScalingPolicy": parse_policy,
    "BusinessEvent": parse_event,
    "ScalingDecision": parse_decision,
    "ScalingBacktest": parse_backtest,
}
# The API server refuses duplicates in lists of this type; a date that is excluded twice is harmless.
HARMLESS = {"event-excluded-date-twice"}


@pytest.mark.parametrize(
    "refusal",
    [refusal for refusal in refused_manifests() if refusal.name not in HARMLESS],
    ids=lambda refusal: refusal.name,
)
def test_an_invalid_manifest_is_refused_with_the_path_of_the_field(refusal: RefusedManifest) -> None:
    with pytest.raises(InvalidManifestError) as refused:
        PARSE[refusal.invalid["kind"]](refusal.invalid)

    path = re.sub(r"\[(\d+)\]", r".\1", refusal.field)
    assert path in str(refused.value)
    assert "; " + "spec" not in str(refused.value).partition(path)[2], "a second mistake is reported"


@pytest.mark.parametrize("refusal", refused_manifests(), ids=lambda refusal: refusal.name)
def test_the_corrected_manifest_is_accepted(refusal: RefusedManifest) -> None:
    assert PARSE[refusal.corrected["kind"]](refusal.corrected).metadata.name == refusal.corrected["metadata"]["name"]


def test_every_kind_has_refused_manifests() -> None:
    kinds = [refusal.invalid["kind"] for refusal in refused_manifests()]

    assert set(kinds) == set(PARSE)
    assert len(kinds) >= 45
