"""What the external metrics server counts."""

from prometheus_client import Counter

REQUESTS = Counter(
    "predictive_scaling_external_metrics_requests_total",
    "Answers to the aggregation layer, by HTTP status. 503: the data were stale or missing.",
    ["status"],
)
CERTIFICATE_RELOADS = Counter(
    "predictive_scaling_external_metrics_certificate_reloads_total",
    "Changes of the serving certificate's files, by result: loaded, or refused as certificate and key did not fit.",
    ["result"],
)
for _status in ("200", "404", "503"):
    REQUESTS.labels(_status)
for _result in ("loaded", "refused"):
    CERTIFICATE_RELOADS.labels(_result)
