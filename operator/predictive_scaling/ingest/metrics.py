"""What ingest counts."""

from prometheus_client import Counter, Gauge, Histogram

LAG = Gauge("kafka_consumer_lag", "Messages that are in Kafka and not in the database yet.", ["topic", "partition"])
SAMPLES = Counter("predictive_scaling_ingest_samples_total", "Samples written, or known already.", ["outcome"])
DEAD_LETTERS = Counter(
    "predictive_scaling_ingest_dead_letters_total", "Messages that stayed out, by reason.", ["reason"]
)
UNPUBLISHED = Counter(
    "predictive_scaling_ingest_dead_letters_unpublished_total",
    "Dead letters that are in the table but could not be sent to the dead-letter topic.",
)
BATCH_SECONDS = Histogram(
    "predictive_scaling_ingest_batch_seconds",
    "Time from a batch's messages to its commit.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
WRITE_FAILURES = Counter("predictive_scaling_ingest_write_failures_total", "Batches that have to be written again.")
RESETS = Counter(
    "predictive_scaling_ingest_topic_resets_total", "Partitions begun anew because their topic was made again."
)
LIMIT_REFUSED = Counter(
    "predictive_scaling_ingest_series_limit_refused_total",
    "Samples that stayed out because a limit was reached: services, metrics or series.",
    ["limit"],
)
LIMIT_USAGE = Gauge(
    "predictive_scaling_ingest_series_limit_usage_ratio",
    "How much of a limit is used up; of metrics and series by the service with most.",
    ["limit"],
)
for _limit in ("services", "metrics", "series"):
    # An increase from 0 can be seen, the first appearance of a counter cannot.
    LIMIT_REFUSED.labels(_limit)
