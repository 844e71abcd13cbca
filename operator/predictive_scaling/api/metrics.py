"""What the HTTP API counts. `prediction_latency_seconds` is declared in telemetry, as the operator observes it too."""

from prometheus_client import Counter, Histogram

REQUESTS = Counter(
    "predictive_scaling_api_requests_total",
    "Requests to the HTTP API, by method (other: none of HTTP's), route (unknown: no such path) and status.",
    ["method", "route", "status"],
)
DURATION = Histogram(
    "predictive_scaling_api_request_duration_seconds",
    "How long requests took, from their head to the end of their answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
