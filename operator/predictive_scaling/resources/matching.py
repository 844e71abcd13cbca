"""Text of a certain form, refused with a sentence besides the pattern."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True, slots=True)
class Matching:
    """Annotates a str that has to match a pattern, and not `forbidden`; `allowed` says in words what does.

    The patterns are such as Go, Python and CEL read alike.
    """

    pattern: str
    allowed: str
    longest: int
    shortest: int = 1
    forbidden: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        text = core_schema.str_schema(min_length=self.shortest, max_length=self.longest)
        return core_schema.no_info_after_validator_function(self._check, text)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        rule = f"self.matches(r'{self.pattern}')"
        if self.forbidden:
            rule += f" && !self.matches(r'{self.forbidden}')"
        return described | {
            "pattern": self.pattern,
            "x-kubernetes-validations": [{"rule": rule, "message": self.allowed}],
        }

    def _check(self, text: str) -> str:
        # fullmatch, as Python's $ also matches before a final line break.
        if not re.fullmatch(self.pattern, text) or (self.forbidden and re.search(self.forbidden, text)):
            raise ValueError(self.allowed)
        return text
