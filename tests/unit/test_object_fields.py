"""Fields of objects that a CRD or another version of the API server may fill with other types."""

from types import MappingProxyType
from typing import Any

import pytest

from predictive_scaling.cluster.object_fields import as_mapping, mappings_in, value_at


@pytest.mark.parametrize("value", [None, "text", 3, True, ["a"], ()])
def test_a_value_of_another_type_is_an_empty_mapping(value: Any) -> None:
    assert as_mapping(value) == {}


@pytest.mark.parametrize("value", [{"a": 1}, MappingProxyType({"a": 1})])
def test_a_mapping_is_returned_as_it_is(value: Any) -> None:
    assert as_mapping(value) is value


@pytest.mark.parametrize("value", [None, "text", 3, {"a": 1}])
def test_a_value_that_is_no_list_has_no_mappings(value: Any) -> None:
    assert mappings_in(value) == []


@pytest.mark.parametrize("listed", [[{"a": 1}, "b", None, {"c": 2}], ({"a": 1}, {"c": 2}, 4)])
def test_entries_of_other_types_are_left_out(listed: Any) -> None:
    assert mappings_in(listed) == [{"a": 1}, {"c": 2}]


@pytest.mark.parametrize("body", [{}, {"spec": None}, {"spec": "text"}, {"spec": {"other": 1}}])
def test_a_field_that_is_not_set_is_none(body: dict[str, Any]) -> None:
    assert value_at(body, ("spec", "replicas")) is None


def test_a_field_is_found_by_its_path() -> None:
    assert value_at({"spec": {"replicas": 3}}, ("spec", "replicas")) == 3
