"""Read a policy and its events from YAML files, and refuse YAML that is not a plain manifest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import yaml

from predictive_scaling.decision.review import Problem, review_event
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.metadata import API_VERSION
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy
from predictive_scaling.resources.vocabulary import Mode

MAX_ALIASES = 100
MAX_NODES = 100_000
"""Scalars, lists and maps after expansion of all aliases: a YAML bomb is a small file and a huge document."""
MAX_BYTES = 4_000_000
_MAX_DEPTH = 200
"""Maximum levels of nesting."""


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML document. line: its first line, counted from 1."""

    body: dict[str, Any]
    line: int


def read_policy(path: Path) -> ScalingPolicy:
    """Read the ScalingPolicy of a manifest with one document.

    Raises InvalidManifestError with the file, the line and the allowed values.
    """
    in_file = documents(path)
    if len(in_file) != 1:
        second = f"; the second begins at line {in_file[1].line}" if len(in_file) > 1 else ""
        raise InvalidManifestError(f"{path}: expected one ScalingPolicy, found {len(in_file)} documents{second}")
    _check_kind(path, in_file[0], "ScalingPolicy")
    return _parse(path, in_file[0], parse_policy)


def read_events(path: Path) -> tuple[BusinessEvent, ...]:
    """Read the BusinessEvents of a manifest with one or more documents. Raises InvalidManifestError as read_policy."""
    events: list[BusinessEvent] = []
    for document in documents(path):
        _check_kind(path, document, "BusinessEvent")
        events.append(_parse(path, document, parse_possible_event))
    if not events:
        raise InvalidManifestError(f"{path} contains no BusinessEvent")
    return tuple(events)


def parse_possible_event(body: Mapping[str, Any]) -> BusinessEvent:
    """Parse a BusinessEvent that can occur. Raises InvalidManifestError if the operator would report it as Stalled."""
    verdict = review_event(body)
    if isinstance(verdict, Problem):
        raise InvalidManifestError(verdict.message)
    return verdict


def default_policy(name: str) -> ScalingPolicy:
    """Return the policy that is replayed without a manifest: the defaults of the custom resource, in mode Auto.

    The defaults are p90 above an HPA at 70 %. One field differs: a recorded zero counts as zero demand, not as missing
    data.
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


def replayable(policy: ScalingPolicy, lead_time: timedelta) -> ScalingPolicy:
    """Return the policy with this lead time in mode Auto, without suspension, pause and pin: they hold the floor."""
    forecast = policy.spec.forecast.model_copy(update={"lead_time": lead_time})
    spec = policy.spec.model_copy(update={"forecast": forecast, "mode": Mode.AUTO, "suspend": False})
    metadata = policy.metadata.model_copy(update={"annotations": {}})
    return policy.model_copy(update={"spec": spec, "metadata": metadata})


def documents(path: Path) -> list[Document]:
    """Return the non-empty documents of a file. Raises InvalidManifestError if it is not plain YAML with maps."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidManifestError(f"{path} is larger than {MAX_BYTES // 1_000_000} MB, the limit of a manifest")
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
        raise InvalidManifestError(f"{path} is not valid YAML: {error}") from None


def _count_aliases(path: Path, text: str) -> None:
    count = depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        count += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if count > MAX_ALIASES or depth > _MAX_DEPTH:
            excess = f"more than {MAX_ALIASES} aliases" if count > MAX_ALIASES else f"{depth} levels of nesting"
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise InvalidManifestError(f"{path}, line {line}: refused, {excess}")


def _map(path: Path, node: yaml.Node) -> dict[str, Any]:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise InvalidManifestError(f"{path}, line {line}: expected a manifest, which is a map of fields")
    _count_nodes(path, node, {}, set())
    loader = yaml.SafeLoader("")
    try:
        body = loader.construct_document(node)
    except ValueError as error:
        raise InvalidManifestError(f"{path}, line {line}: {error}") from None
    finally:
        loader.dispose()
    return cast(dict[str, Any], body)


def _count_nodes(path: Path, node: yaml.Node, counts: dict[int, int], ancestors: set[int]) -> int:
    """Return the number of nodes below a node, itself included; an alias counts each time it is used.

    counts: counts of the nodes so far, by id.
    """
    if id(node) in ancestors:
        raise InvalidManifestError(f"{path}, line {node.start_mark.line + 1}: refused, an alias that contains itself")
    if id(node) not in counts:
        ancestors.add(id(node))
        counts[id(node)] = 1 + sum(_count_nodes(path, child, counts, ancestors) for child in _children(node))
        ancestors.discard(id(node))
    if counts[id(node)] > MAX_NODES:
        raise InvalidManifestError(
            f"{path}, line {node.start_mark.line + 1}: refused, its aliases expand to more than {MAX_NODES:,} values"
        )
    return counts[id(node)]


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
    actual = document.body.get("kind"), document.body.get("apiVersion")
    if actual != (kind, API_VERSION):
        raise InvalidManifestError(
            f"{path}, line {document.line}: expected kind {kind} of {API_VERSION}, found {actual[0]} of {actual[1]}"
        )


def _parse(path: Path, document: Document, parse: Any) -> Any:
    try:
        return parse(document.body)
    except InvalidManifestError as error:
        raise InvalidManifestError(f"{path}, line {document.line}: {error}") from None
