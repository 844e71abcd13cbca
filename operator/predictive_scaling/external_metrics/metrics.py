"""Prometheus metrics of the external metrics server."""

from prometheus_client import Counter

REQUESTS = Counter(
    "predictive_scaling_external_metrics_requests_total",
    "Responses to the aggregation layer by HTTP status; 503: stale or missing data.",
    ["status"],
)
CERTIFICATE_RELOADS = Counter(
    "predictive_scaling_external_metrics_certificate_reloads_total",
    "Changes of the serving certificate by result: loaded, or refused because certificate and key do not match.",
    ["result"],
)
for _status in ("200", "404", "503"):
    REQUESTS.labels(_status)
for _result in ("loaded", "refused"):
    CERTIFICATE_RELOADS.labels(_result)
