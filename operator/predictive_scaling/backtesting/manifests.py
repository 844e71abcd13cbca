"""A policy and its events from files: YAML as people write it, and nothing that YAML could do besides."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import yaml

from forecasting.forecaster import ModelChoice
from predictive_scaling.decision.review import Problem, review_event
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.metadata import API_VERSION
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy

MAX_ALIASES = 100
MAX_NODES = 100_000
"""Scalars, lists and maps once all aliases are written out: a bomb is small as a file and huge as a document."""
MAX_BYTES = 4_000_000
_MAX_DEPTH = 200
"""Levels of nesting."""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document. line: where it begins, counted from 1."""

    body: dict[str, Any]
    line: int


def read_policy(path: Path) -> ScalingPolicy:
    """The one ScalingPolicy of a manifest. Raises InvalidManifestError with the file, the line and what is allowed."""
    found = documents(path)
    if len(found) != 1:
        where = f"; the second begins at line {found[1].line}" if len(found) > 1 else ""
        raise InvalidManifestError(f"{path}: expected one ScalingPolicy, found {len(found)} documents{where}")
    _check_kind(path, found[0], "ScalingPolicy")
    return _parse(path, found[0], parse_policy)


def read_events(path: Path) -> tuple[BusinessEvent, ...]:
    """The BusinessEvents of a manifest, one or many documents. Raises InvalidManifestError likewise."""
    events: list[BusinessEvent] = []
    for document in documents(path):
        _check_kind(path, document, "BusinessEvent")
        events.append(_parse(path, document, parse_possible_event))
    if not events:
        raise InvalidManifestError(f"{path} holds no BusinessEvent")
    return tuple(events)


def parse_possible_event(body: Mapping[str, Any]) -> BusinessEvent:
    """A BusinessEvent that can take place. Raises InvalidManifestError where the operator would call it Stalled."""
    verdict = review_event(body)
    if isinstance(verdict, Problem):
        raise InvalidManifestError(verdict.message)
    return verdict


def default_policy(name: str) -> ScalingPolicy:
    """The policy to replay where no manifest is given: the defaults of the custom resource, switched on.

    They are p90 above an HPA at 70 %. Only zeros differ: a recorded zero counts as zero demand, not as missing data.
    """
    return parse_policy(
        {
            "apiVersion": API_VERSION,
            "kind": "ScalingPolicy",
            "metadata": {"name": "default", "namespace": "backtest"},
            "spec": {
                "mode": "Auto",
                "target": {"horizontalPodAutoscaler": {"name": "default"}},
                "demand": {"service": name[:253] or "trace", "metric": "demand", "zeroIsValid": True},
                "replicas": {"min": 1, "max": 100_000},
            },
        }
    )


def adjusted(policy: ScalingPolicy, lead_time: timedelta, model: ModelChoice | None = None) -> ScalingPolicy:
    """The policy as it would act: switched on, with this lead time, on an HPA."""
    forecast = policy.spec.forecast.model_copy(
        update={"lead_time": lead_time, "model": model or policy.spec.forecast.model}
    )
    return policy.model_copy(update={"spec": policy.spec.model_copy(update={"forecast": forecast})})


def documents(path: Path) -> list[Document]:
    """All that are not empty. Raises InvalidManifestError for anything that is not plain YAML of maps."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidManifestError(f"{path} has more than {MAX_BYTES // 1_000_000} MB; that is no manifest")
        text = path.read_text(encoding="utf-8")
        _count_aliases(path, text)
        return [
            Document(_map(path, node), node.start_mark.line + 1)
            for node in yaml.compose_all(text, Loader=yaml.SafeLoader)
            if not _is_empty(node)
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidManifestError(f"{path} cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidManifestError(f"{path}, line {line}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidManifestError(f"{path} is no YAML: {error}") from None


def _count_aliases(path: Path, text: str) -> None:
    count = depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        count += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if count > MAX_ALIASES or depth > _MAX_DEPTH:
            what = f"more than {MAX_ALIASES} aliases" if count > MAX_ALIASES else f"{depth} levels of nesting"
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise InvalidManifestError(f"{path}, line {line}: refused, {what}")


def _map(path: Path, node: yaml.Node) -> dict[str, Any]:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise InvalidManifestError(f"{path}, line {line}: expected a manifest, that is a map of fields")
    _count_nodes(path, node, {}, set())
    loader = yaml.SafeLoader("")
    try:
        body = loader.construct_document(node)
    except ValueError as error:
        raise InvalidManifestError(f"{path}, line {line}: {error}") from None
    finally:
        loader.dispose()
    return cast(dict[str, Any], body)


def _count_nodes(path: Path, node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Nodes below, with every alias counted as often as it is used."""
    if id(node) in above:
        raise InvalidManifestError(f"{path}, line {node.start_mark.line + 1}: refused, an alias that contains itself")
    if id(node) not in known:
        above.add(id(node))
        known[id(node)] = 1 + sum(_count_nodes(path, child, known, above) for child in _children(node))
        above.discard(id(node))
    if known[id(node)] > MAX_NODES:
        raise InvalidManifestError(
            f"{path}, line {node.start_mark.line + 1}: refused, aliases make more than {MAX_NODES:,} values of it"
        )
    return known[id(node)]


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value


def _is_empty(node: yaml.Node | None) -> bool:
    return node is None or (isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null")


def _check_kind(path: Path, document: Document, kind: str) -> None:
    given = document.body.get("kind"), document.body.get("apiVersion")
    if given != (kind, API_VERSION):
        raise InvalidManifestError(
            f"{path}, line {document.line}: expected kind {kind} of {API_VERSION}, found {given[0]} of {given[1]}"
        )


def _parse(path: Path, document: Document, parse: Any) -> Any:
    try:
        return parse(document.body)
    except InvalidManifestError as error:
        raise InvalidManifestError(f"{path}, line {document.line}: {error}") from None
