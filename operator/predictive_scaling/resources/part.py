"""The base of all parts of our manifests: parsing, validation and JSON schema."""

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
    """Rules between the fields of this part."""

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in self.rules:
            if not rule.holds(self):
                field = f"{rule.field}: " if rule.field else ""
                raise PydanticCustomError("rule", "{text}", {"text": field + rule.message})
        return self

    def to_manifest(self) -> dict[str, Any]:
        """Return the part as written in a manifest or a status, without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler.resolve_ref_schema(handler(schema))
        for name, field in cls.model_fields.items():
            default = field.get_default(call_default_factory=True, validated_data={})
            field_schema = described["properties"][field.alias or name]
            field_schema.pop("default", None)
            if isinstance(default, Part):
                field_schema["default"] = {}
            elif not field.is_required():
                value = TypeAdapter(field.rebuild_annotation()).dump_python(default, mode="json")
                if value not in (None, "", []):
                    field_schema["default"] = value
        if cls.rules:
            described["x-kubernetes-validations"] = [rule.to_validation() for rule in cls.rules]
        return described


class StatusPart(Part):
    """A part of a status. Fields of a later release are kept when a status is read."""

    model_config = Part.model_config | {"extra": "allow"}

    def without_unknown_fields(self) -> Self:
        """Return the part without fields of a later release; parts in it keep theirs."""
        return type(self).model_construct(**{name: getattr(self, name) for name in type(self).model_fields})


def writable(text: str) -> str:
    r"""Replace each control character and each lone surrogate by the replacement character.

    JSON, PostgreSQL and terminals each refuse or misread some of them; line breaks and tabs stay.

    >>> writable("pin\x00 12")
    'pin� 12'
    """
    return _UNWRITABLE.sub("\ufffd", text)


def fitted_to(max_length: int) -> BeforeValidator:
    """Truncate text that our own code records to `max_length` characters and make it writable.

    A record must not fail because of a person's text or an error that it quotes. Text of a manifest is not changed: it
    has to fit.
    """

    def fit(text: Any, info: ValidationInfo) -> Any:
        if info.mode != "python" or not isinstance(text, str):
            return text
        # Truncated first: the text can be a quoted annotation of 256 KiB.
        return writable(text if len(text) <= max_length else text[: max_length - 1] + "…")

    return BeforeValidator(fit)


Manifest = TypeVar("Manifest", bound=BaseModel)


def read(kind: type[Manifest], body: Mapping[str, Any]) -> Manifest:
    """Return the typed form of a manifest. Types are checked as strictly as by the API server.

    Raises InvalidManifestError with each invalid field, its value and what is allowed.
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
    fields = cast(Mapping[str, Any], metadata)
    return "/".join(str(fields[name]) for name in ("namespace", "name") if fields.get(name)) or "without a name"


def _sentence(problem: ErrorDetails, kind: type[BaseModel]) -> str:
    path = ".".join(str(step) for step in problem["loc"]) or "manifest"
    match problem["type"]:
        case "extra_forbidden":
            return f"{path} is not a field{_suggestion(problem['loc'], kind)}"
        case "missing":
            return f"{path} is required"
        case "rule":
            return f"{path}.{problem['msg']}" if ": " in problem["msg"] else f"{path}: {problem['msg']}"
        case _:
            text = problem["msg"].removeprefix("Value error, ")
            # A word in capitals is a name, such as INTERVAL.
            message = text if text[:2].isupper() else f"{text[:1].lower()}{text[1:]}"
            return f"{path} is {problem['input']!r:.100}; {message}"


def _suggestion(loc: tuple[int | str, ...], kind: type[BaseModel]) -> str:
    part: Any = kind
    for step in loc[:-1]:
        fields = {field.alias or name: field for name, field in part.model_fields.items()}
        types = _annotations(fields[str(step)].annotation)
        part = next((annotation for annotation in types if hasattr(annotation, "model_fields")), None)
        if part is None:
            return ""
    names = [field.alias or name for name, field in part.model_fields.items()]
    close = difflib.get_close_matches(str(loc[-1]), names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; the fields are {', '.join(names)}"


def _annotations(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) or (annotation,)
