"""What all parts of our manifests have in common: how they are read, checked and described."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar, cast, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, PydanticSerializationError, to_json

from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.rules import Rule

_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Part(BaseModel):
    """A part of a manifest: camelCase outside, snake_case inside, frozen, no unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """What must hold between the fields of this part."""

    @model_validator(mode="after")
    def _obeys_its_rules(self) -> Self:
        for rule in self.rules:
            if not rule.holds(self):
                blamed = f"{rule.field}: " if rule.field else ""
                raise PydanticCustomError("rule", "{text}", {"text": blamed + rule.message})
        return self

    def to_manifest(self) -> dict[str, Any]:
        """The part as it is written in a manifest or a status, without what is not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler.resolve_ref_schema(handler(schema))
        for name, field in cls.model_fields.items():
            default = field.get_default(call_default_factory=True, validated_data={})
            written = described["properties"][field.alias or name]
            written.pop("default", None)
            if isinstance(default, Part):
                written["default"] = {}
            elif not field.is_required():
                value = TypeAdapter(field.rebuild_annotation()).dump_python(default, mode="json")
                if value not in (None, "", []):
                    written["default"] = value
        if cls.rules:
            described["x-kubernetes-validations"] = [rule.to_validation() for rule in cls.rules]
        return described


def writable(text: str) -> str:
    r"""The text with a replacement character for each control character and each half of a surrogate pair.

    JSON, PostgreSQL and terminals each refuse or misread some of them; line breaks and tabs stay.

    >>> writable("pin\x00 12")
    'pin� 12'
    """
    return _UNWRITABLE.sub("\ufffd", text)


def fitted_to(longest: int) -> BeforeValidator:
    """Cuts text that our own code records to `longest` characters and makes it writable; manifests are not touched.

    A record that quotes a person or an error must not fail for what it quotes; what a manifest says has to fit.
    """

    def fit(text: Any, info: ValidationInfo) -> Any:
        if info.mode != "python" or not isinstance(text, str):
            return text
        readable = writable(text)
        return readable if len(readable) <= longest else readable[: longest - 1] + "…"

    return BeforeValidator(fit)


Manifest = TypeVar("Manifest", bound=BaseModel)


def read(kind: type[Manifest], body: Mapping[str, Any]) -> Manifest:
    """The typed form of a manifest, as strict about types as the API server is.

    Raises InvalidManifestError naming each wrong field, what was given and what is allowed.
    """
    try:
        text = to_json(dict(body))
    except PydanticSerializationError as error:
        raise InvalidManifestError(f"{kind.__name__} {_name(body)}: cannot be written as JSON: {error}") from None
    try:
        return kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        problems = "; ".join(_sentence(problem, kind) for problem in error.errors())
        raise InvalidManifestError(f"{kind.__name__} {_name(body)}: {problems}") from None


def _name(body: Mapping[str, Any]) -> str:
    metadata = body.get("metadata")
    if not isinstance(metadata, Mapping):
        return "without a name"
    named = cast(Mapping[str, Any], metadata)
    return "/".join(str(named[part]) for part in ("namespace", "name") if named.get(part)) or "without a name"


def _sentence(problem: ErrorDetails, kind: type[BaseModel]) -> str:
    path = ".".join(str(step) for step in problem["loc"]) or "manifest"
    match problem["type"]:
        case "extra_forbidden":
            return f"{path} is no field{_suggestion(problem['loc'], kind)}"
        case "missing":
            return f"{path} is required"
        case "rule":
            return f"{path}.{problem['msg']}" if ": " in problem["msg"] else f"{path}: {problem['msg']}"
        case _:
            text = problem["msg"].removeprefix("Value error, ")
            # A word in capitals is a name, such as INTERVAL.
            said = text if text[:2].isupper() else f"{text[:1].lower()}{text[1:]}"
            return f"{path} is {problem['input']!r:.100}; {said}"


def _suggestion(loc: tuple[int | str, ...], kind: type[BaseModel]) -> str:
    part: Any = kind
    for step in loc[:-1]:
        fields = {field.alias or name: field for name, field in part.model_fields.items()}
        part = next((a for a in _annotations(fields[str(step)].annotation) if hasattr(a, "model_fields")), None)
        if part is None:
            return ""
    names = [field.alias or name for name, field in part.model_fields.items()]
    close = difflib.get_close_matches(str(loc[-1]), names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(names)}"


def _annotations(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) or (annotation,)
