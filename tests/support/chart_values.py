"""Sets of values that cover every option of the chart."""

from collections.abc import Mapping
from typing import Any

_ROLE = "arn:aws:iam::123456789012:role/scaler"

VALUE_SETS: Mapping[str, dict[str, Any]] = {
    "defaults": {},
    "one of each": {
        "operator": {"replicas": 1},
        "api": {"replicas": 1},
        "ingest": {"replicas": 1},
    },
    "operator only": {
        "api": {"enabled": False},
        "ingest": {"enabled": False},
        "migrate": {"enabled": False},
        "crds": {"enabled": False},
        "kafka": {"bootstrapServers": ""},
        "rbac": {"create": False, "aggregateClusterRoles": False},
    },
    "namespaced": {
        "namespaces": ["shop", "search"],
        "rbac": {"keda": False, "aggregateClusterRoles": False},
        "crds": {"keep": False},
    },
    "all rights": {
        "nodeHeadroom": {"enabled": True},
        "externalMetrics": {
            "enabled": True,
            "certificateSecret": "metrics-tls",
            "caBundle": "LS0tLS1CRUdJTg==",
            "apiServiceAnnotations": {"cert-manager.io/inject-ca-from": "scaling/metrics"},
        },
    },
    "custom kinds": {
        "rbac": {"scalableKinds": [{"apiGroup": "argoproj.io", "resource": "rollouts"}]},
        "nodeHeadroom": {"enabled": True, "createPriorityClass": False, "priorityClassName": "filler"},
    },
    "all secrets": {
        "database": {"existingSecret": "postgres", "key": "uri"},
        "redis": {"existingSecret": "redis", "key": "url"},
        "kafka": {"bootstrapServers": "b-1:9096,b-2:9096", "existingSecret": "kafka", "key": "librdkafka.json"},
    },
    "settings": {
        "settings": {
            "tick": "30s",
            "logLevel": "debug",
            "maxServices": 2_000_000,
            "verificationPatience": 2.5,
            "backtestMemoryMib": 4096,
            "awsRoles": {"shop": [_ROLE]},
            "kafkaTopic": "samples, raw: 1",
        }
    },
    "trainer": {
        "trainer": {"enabled": True, "every": "12h"},
        "models": {"persistence": {"enabled": True, "size": "20Gi", "storageClass": "efs"}},
    },
    "existing claim": {"trainer": {"enabled": True}, "models": {"existingClaim": "models"}},
    "monitoring": {
        "trainer": {"enabled": True},
        "models": {"existingClaim": "models"},
        "serviceMonitor": {"enabled": True, "additionalLabels": {"release": "prometheus"}, "interval": "30s"},
        "prometheusRule": {
            "enabled": True,
            "additionalLabels": {"release": "prometheus"},
            "runbookUrl": "https://wiki.example.com/scaling/runbook.md",
        },
        "dashboards": {"enabled": True, "namespace": "default", "annotations": {"grafana_folder": "Scaling"}},
    },
    "kube-state-metrics": {
        "kubeStateMetrics": {"enabled": True, "serviceAccount": {"name": "exporter", "namespace": "monitoring"}},
    },
    "network policies": {
        "networkPolicy": {
            "enabled": True,
            "ingressFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "databasePort": 6432,
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 9093}]}],
        },
        "externalMetrics": {"enabled": True, "certificateSecret": "metrics-tls"},
    },
    "image and accounts": {
        "fullnameOverride": "scaler",
        "image": {"repository": "registry.local/predictive-scaling", "digest": f"sha256:{'0' * 64}"},
        "imagePullSecrets": [{"name": "registry"}],
        "operator": {"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": _ROLE}}},
        "api": {"serviceAccount": {"create": False}},
        "ingest": {"serviceAccount": {"create": False, "name": "existing"}},
    },
    "pod options": {
        "pods": {
            "podLabels": {"team": "platform"},
            "podAnnotations": {"sidecar.istio.io/inject": "false"},
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "extraEnv": [{"name": "TZ", "value": "UTC"}],
            "extraVolumes": [{"name": "extra", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
        },
        "api": {
            "nodeSelector": {"pool": "web"},
            "extraEnvFrom": [{"configMapRef": {"name": "api"}}],
            "livenessProbe": {"failureThreshold": 9},
            "topologySpreadConstraints": [
                {
                    "maxSkew": 2,
                    "topologyKey": "topology.kubernetes.io/zone",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "api"}},
                }
            ],
            "affinity": {"nodeAffinity": {}},
        },
    },
    "access control": {
        "settings": {"apiAuthentication": "kubernetes", "apiPublicTelemetry": False, "apiRequestsPerSecond": 20},
        "networkPolicy": {"enabled": True},
    },
    "trial": {
        "demo": {"enabled": True},
        "database": {"existingSecret": ""},
        "kafka": {"bootstrapServers": ""},
    },
    "sources": {
        "kafka": {"bootstrapServers": ""},
        "sources": [
            {
                "name": "prometheus",
                "kind": "prometheus",
                "url": "https://prometheus.monitoring:9090",
                "interval": "30s",
                "headers": {"X-Scope-OrgID": "shop"},
                "bearerTokenFile": "/run/source-secrets/prometheus/token",
                "queries": [
                    {
                        "metric": "requests_per_second",
                        "serviceLabel": "service",
                        "query": "sum by (service) (rate(http_requests_total[2m]))",
                    }
                ],
            },
            {
                "name": "orders",
                "kind": "postgresql",
                "urlFile": "/run/source-secrets/orders/url",
                "queries": [
                    {
                        "metric": "orders",
                        "service": "checkout",
                        "query": "select at as time, 1 as value from orders where at >= %(from)s and at < %(to)s",
                    }
                ],
            },
        ],
        "sourceSecrets": ["prometheus", "orders"],
        "networkPolicy": {"enabled": True},
    },
    "tls": {"api": {"tlsSecret": "api-tls"}, "serviceMonitor": {"enabled": True}},
    "remote write": {
        "ingest": {"remoteWrite": {"enabled": True, "existingSecret": "senders", "tlsSecret": "receiver-tls"}},
        "networkPolicy": {"enabled": True},
    },
    "other objects": {
        "admissionPolicy": {"enabled": True},
        "activationPolicy": {"enabled": True},
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "extra", "namespace": "{{ .Release.Namespace }}"},
            }
        ],
    },
}
