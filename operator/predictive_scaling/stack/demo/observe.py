"""What is really there: read from the API server and from the HTTP API while the replay runs."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import config as kubernetes_config

from predictive_scaling.cluster.client import Cluster
from predictive_scaling.errors import StackError
from predictive_scaling.stack.demo.manifests import HPA_ONLY, NAMESPACE, POLICY, PREDICTIVE
from predictive_scaling.stack.demo.measure import Band, DeploymentState, Observation
from predictive_scaling.stack.demo.replay_record import DecisionLine
from predictive_scaling.stack.demo.result import LearnedMatch
from predictive_scaling.stack.demo.scenario import SERVICE, object_name
from predictive_scaling.stack.demo.workload import Match

_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
_AUTOSCALERS = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers"
_POLICY = f"/apis/predictive-scaling.io/v1alpha1/namespaces/{NAMESPACE}/scalingpolicies/{POLICY}"
_EVENTS = f"/apis/predictive-scaling.io/v1alpha1/namespaces/{NAMESPACE}/businessevents"
_PAGE = 100
_UNFINISHED = ("pending", "executing", "verifying")


class Observer:
    """Reads the live objects and the HTTP API; it changes nothing."""

    def __init__(self, cluster: Cluster, api: aiohttp.ClientSession) -> None:
        self._cluster = cluster
        self._api = api

    async def observe(self, at: datetime, demand: float) -> Observation:
        """The current state of both Deployments."""
        deployments, autoscalers = await asyncio.gather(
            self._cluster.items(_DEPLOYMENTS), self._cluster.items(_AUTOSCALERS)
        )
        states = {
            name: _deployment_state(_named(deployments, name), _named(autoscalers, name))
            for name in (HPA_ONLY, PREDICTIVE)
        }
        return Observation(at, demand, states[HPA_ONLY], states[PREDICTIVE])

    async def conditions(self) -> dict[str, str]:
        """The policy's conditions, name to status."""
        status = (await self._cluster.get(_POLICY)).get("status", {})
        return {condition["type"]: condition["status"] for condition in status.get("conditions", [])}

    async def learned(self, matches: Sequence[Match]) -> tuple[LearnedMatch, ...]:
        """What was learned about each match; those about which nothing was learned are left out."""
        statuses = {event["metadata"]["name"]: event.get("status", {}) for event in await self._cluster.items(_EVENTS)}
        return tuple(
            LearnedMatch(
                match.name,
                match.start,
                float(learned["multiplier"]),
                float(learned["low"]),
                float(learned["high"]),
                learned["samples"],
            )
            for match in matches
            if (learned := statuses[object_name(match)].get("learned")) is not None
        )

    async def hpas_read_metric(self) -> bool:
        """Whether both HPAs read their metric."""
        autoscalers = await self._cluster.items(_AUTOSCALERS)
        return all(
            any(
                condition["type"] == "ScalingActive" and condition["status"] == "True"
                for condition in autoscaler.get("status", {}).get("conditions", [])
            )
            for autoscaler in autoscalers
        )

    async def band(self, at: datetime) -> Band | None:
        """The newest forecast for `at`; None where there is none."""
        answer = await self._get_json("/api/v1/predictions/current", {"service": SERVICE})
        points = [point for forecast in answer["predictions"] for point in forecast["points"]]
        started = [point for point in points if datetime.fromisoformat(point["target_time"]) <= at]
        nearest = started[-1] if started else next(iter(points), None)
        return None if nearest is None else Band(nearest["p50"], nearest["p90"])

    async def decisions(self, since: datetime, until: datetime) -> list[DecisionLine]:
        """The decisions created in [since, until), oldest first."""
        lines = list[DecisionLine]()
        query = {"service": SERVICE, "limit": str(_PAGE)}
        while True:
            answer = await self._get_json("/api/v1/scaling/decisions", query)
            lines += [_decision_line(decision) for decision in answer["decisions"]]
            if answer["next_cursor"] is None:
                return [line for line in reversed(lines) if since <= line.at < until]
            query["cursor"] = answer["next_cursor"]

    async def has_unfinished_decisions(self) -> bool:
        """Whether a decision is still pending, executing or verifying."""
        answer = await self._get_json("/api/v1/scaling/decisions", {"service": SERVICE, "limit": str(_PAGE)})
        return any(decision["status"] in _UNFINISHED for decision in answer["decisions"])

    async def _get_json(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        async with self._api.get(path, params=query) as response:
            if response.status != 200:
                raise StackError(f"the HTTP API answered {path} with {response.status}: {await response.text()}")
            answer: dict[str, Any] = await response.json()
            return answer


@asynccontextmanager
async def observing(kubeconfig: Path, api_url: str) -> AsyncGenerator[Observer]:
    """An Observer with connections of its own."""
    client = await kubernetes_config.new_client_from_config(str(kubeconfig))
    try:
        async with aiohttp.ClientSession(api_url) as session:
            yield Observer(Cluster(client), session)
    finally:
        await client.close()


def _named(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(candidate for candidate in objects if candidate["metadata"]["name"] == name)


def _deployment_state(deployment: dict[str, Any], autoscaler: dict[str, Any]) -> DeploymentState:
    status = deployment.get("status", {})
    return DeploymentState(
        existing=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        minimum=autoscaler["spec"].get("minReplicas", 1),
    )


def _decision_line(decision: dict[str, Any]) -> DecisionLine:
    return DecisionLine(
        at=datetime.fromisoformat(decision["created_at"]),
        before=decision["from_replicas"],
        after=decision["to_replicas"],
        source=decision["source"],
        message=decision["message"],
        status=decision["status"],
    )
