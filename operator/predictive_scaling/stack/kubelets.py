"""The Stage objects of kwok, which simulates the kubelets: the states of a pod and their durations."""

from datetime import timedelta
from typing import Any

import yaml

NODE = "node"
"""The only node, large enough for all pods. Without a scheduler, pods set `nodeName: node`."""

NODE_MANIFEST: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE, "type": "kwok"}},
    "status": {
        "capacity": {"cpu": "10000", "memory": "100Ti", "pods": "100000"},
        "allocatable": {"cpu": "10000", "memory": "100Ti", "pods": "100000"},
    },
}

_STARTED = """
conditions:
- {lastTransitionTime: {{ Now | Quote }}, status: "True", type: Initialized}
- {lastTransitionTime: {{ Now | Quote }}, STATE, type: ContainersReady}
- {lastTransitionTime: {{ Now | Quote }}, STATE, type: Ready}
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  name: {{ .name | Quote }}
  ready: READY
  restartCount: 0
  started: READY
  state: {running: {startedAt: {{ Now | Quote }}}}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
{{ $uid := or .metadata.uid "" }}
{{ $name := or .metadata.name "" }}
{{ $namespace := or .metadata.namespace "" }}
podIP: {{ PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) $uid $name $namespace | Quote }}
phase: Running
startTime: {{ Now | Quote }}
"""
_STATES = {
    True: {"STATE": 'status: "True"', "READY": "true"},
    False: {"STATE": 'status: "False", reason: ContainersNotReady', "READY": "false"},
}
"""The placeholders of _STARTED in a pod that is ready as soon as it starts, and in one that is not."""

_READY = """
{{ $root := . }}
conditions:
- {lastTransitionTime: {{ Now | Quote }}, status: "True", type: Initialized}
- {lastTransitionTime: {{ Now | Quote }}, status: "True", type: ContainersReady}
- {lastTransitionTime: {{ Now | Quote }}, status: "True", type: Ready}
containerStatuses:
{{ range $index, $item := .spec.containers }}
{{ $origin := index $root.status.containerStatuses $index }}
- image: {{ $item.image | Quote }}
  name: {{ $item.name | Quote }}
  ready: true
  restartCount: 0
  started: true
  state: {running: {startedAt: {{ $origin.state.running.startedAt | Quote }}}}
{{ end }}
"""


def stages(pod_ready_delay: timedelta) -> str:
    """Return the configuration of kwok: a pod starts at once, is ready after `pod_ready_delay`, ends when deleted."""
    alive = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    deleted = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
    waiting = {
        "key": '.status.conditions.[] | select( .type == "Ready" ) | .status',
        "operator": "In",
        "values": ["False"],
    }
    fresh = {"key": ".status.podIP", "operator": "DoesNotExist"}
    milliseconds = round(pod_ready_delay.total_seconds() * 1000)
    # Without a delay one status is enough: each further one costs updates of the pod's controllers, too.
    ready = [_stage("pod-ready", [alive, waiting], {"statusTemplate": _READY}, milliseconds)] if milliseconds else []
    return yaml.safe_dump_all(
        [
            _stage("pod-start", [alive, fresh], {"statusTemplate": _started(is_ready=not milliseconds)}),
            *ready,
            _stage("pod-delete", [deleted], {"finalizers": {"empty": True}, "delete": True}),
        ]
    )


def _started(*, is_ready: bool) -> str:
    status = _STARTED
    for placeholder, text in _STATES[is_ready].items():
        status = status.replace(placeholder, text)
    return status


def _stage(
    name: str, selector: list[dict[str, Any]], following: dict[str, Any], delay_milliseconds: int = 0
) -> dict[str, Any]:
    delay = {"delay": {"durationMilliseconds": delay_milliseconds}} if delay_milliseconds else {}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": selector},
            "next": following,
            **delay,
        },
    }
