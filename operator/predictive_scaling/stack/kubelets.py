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
- {lastTransitionTime: {{ Now | Quote }}, status: "False", type: ContainersReady, reason: ContainersNotReady}
- {lastTransitionTime: {{ Now | Quote }}, status: "False", type: Ready, reason: ContainersNotReady}
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  name: {{ .name | Quote }}
  ready: false
  restartCount: 0
  started: false
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
    milliseconds = round(pod_ready_delay.total_seconds() * 1000)
    return yaml.safe_dump_all(
        [
            _stage(
                "pod-start", [alive, {"key": ".status.podIP", "operator": "DoesNotExist"}], {"statusTemplate": _STARTED}
            ),
            _stage("pod-ready", [alive, waiting], {"statusTemplate": _READY}, milliseconds),
            _stage("pod-delete", [deleted], {"finalizers": {"empty": True}, "delete": True}),
        ]
    )


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
