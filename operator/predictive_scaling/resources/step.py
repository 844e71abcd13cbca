"""The maximum change of a floor per period: `50%` of it, or `4` replicas."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_MAX_PERCENT = 1000
_MAX_COUNT = 100_000
_PATTERN = r"^([1-9][0-9]{0,2}%|1000%|[1-9][0-9]{0,5})$"
_ALLOWED = f"must be a percentage between 1% and {_MAX_PERCENT}%, or a number of replicas from 1 to {_MAX_COUNT}"


@dataclass(frozen=True, slots=True)
class Step:
    """A percentage of the floor or a number of replicas."""

    amount: int
    is_percent: bool

    def of(self, floor: int) -> int:
        """Return the maximum change of a floor in replicas: rounded up, at least one.

        >>> Step(20, is_percent=True).of(12), Step(20, is_percent=True).of(0), Step(4, is_percent=False).of(12)
        (3, 1, 4)
        """
        return max(1, -(-floor * self.amount // 100)) if self.is_percent else self.amount

    def __str__(self) -> str:
        return f"{self.amount}%" if self.is_percent else str(self.amount)

    @classmethod
    def parse(cls, value: Any) -> "Step":
        """Parse a step of a manifest: `50%`, `4` or `"4"`. Raises ValueError with the allowed values."""
        if isinstance(value, Step):
            return value
        text = value if isinstance(value, str) else str(value) if type(value) is int else ""
        if not re.fullmatch(_PATTERN, text):
            raise ValueError(_ALLOWED)
        step = cls(int(text.removesuffix("%")), text.endswith("%"))
        if not step.is_percent and step.amount > _MAX_COUNT:
            raise ValueError(_ALLOWED)
        return step

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=core_schema.to_string_ser_schema())

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        del schema, handler
        count = f"self >= 1 && self <= {_MAX_COUNT}"
        text = f"self.matches(r'{_PATTERN}') && (self.endsWith('%') || int(self) <= {_MAX_COUNT})"
        rule = f"type(self) == int ? {count} : {text}"
        return {
            "x-kubernetes-int-or-string": True,
            "maxLength": 6,
            "x-kubernetes-validations": [{"rule": rule, "message": _ALLOWED}],
        }
