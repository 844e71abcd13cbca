"""Metadata of every object."""

from datetime import datetime
from typing import Annotated, NamedTuple

from pydantic import Field

from predictive_scaling.resources.part import Part

GROUP = "predictive-scaling.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

MAX_NAME_LENGTH = 63
"""The maximum length of a label value, as names are used as label values."""


class PolicyKey(NamedTuple):
    """Namespace and name of a policy; prints as shop/checkout."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Metadata(Part):
    """The used fields of an object's metadata."""

    model_config = Part.model_config | {"extra": "ignore"}

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
