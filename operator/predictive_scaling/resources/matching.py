"""Text that must match a pattern; the error explains the allowed form in words."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True, slots=True)
class Matching:
    """Annotates a str that must match `pattern`, and not `forbidden`; `allowed` describes the form in words.

    The patterns use only syntax that Go, Python and CEL interpret in the same way.
    """

    pattern: str
    allowed: str
    max_length: int
    min_length: int = 1
    forbidden: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        text = core_schema.str_schema(min_length=self.min_length, max_length=self.max_length)
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
