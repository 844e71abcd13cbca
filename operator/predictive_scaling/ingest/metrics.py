"""Prometheus metrics of ingest."""

from prometheus_client import Counter, Gauge, Histogram

LAG = Gauge("kafka_consumer_lag", "Messages in Kafka that are not yet in the database.", ["topic", "partition"])
SAMPLES = Counter("predictive_scaling_ingest_samples_total", "Samples by outcome: new, or duplicate.", ["outcome"])
LATE = Counter(
    "predictive_scaling_ingest_late_samples_total", "Samples that were stored more than five minutes after their time."
)
EARLY = Counter(
    "predictive_scaling_ingest_early_samples_total",
    "Samples that were stored before their time: the clock of their sender is ahead.",
)
DEAD_LETTERS = Counter("predictive_scaling_ingest_dead_letters_total", "Dead letters by reason.", ["reason"])
UNPUBLISHED = Counter(
    "predictive_scaling_ingest_dead_letters_unpublished_total",
    "Dead letters that were stored in the table but could not be sent to the dead-letter topic.",
)
BATCH_SECONDS = Histogram(
    "predictive_scaling_ingest_batch_seconds",
    "Time from receiving the messages of a batch to its commit.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
WRITE_FAILURES = Counter("predictive_scaling_ingest_write_failures_total", "Batch writes that failed and are retried.")
PAUSED_SECONDS = Counter(
    "predictive_scaling_ingest_paused_seconds_total",
    "Time in which reading from Kafka was paused, because a write to the database was slow or failed.",
)
RESETS = Counter(
    "predictive_scaling_ingest_topic_resets_total",
    "Partitions that restarted from the beginning because their topic was recreated.",
)
LIMIT_REFUSED = Counter(
    "predictive_scaling_ingest_series_limit_refused_total",
    "Samples rejected because a limit was reached: services, metrics or series.",
    ["limit"],
)
LIMIT_USAGE = Gauge(
    "predictive_scaling_ingest_series_limit_usage_ratio",
    "Used share of a limit; for metrics and series, of the service with the highest usage.",
    ["limit"],
)
for _limit in ("services", "metrics", "series"):
    # rate() detects an increase from 0, but not the first appearance of a counter.
    LIMIT_REFUSED.labels(_limit)

SOURCE_SAMPLES = Counter(
    "predictive_scaling_source_samples_total",
    "Samples of a pull source by outcome: new, duplicate (read again), gap (not a number), rejected.",
    ["source", "outcome"],
)
SOURCE_CORRECTED = Counter(
    "predictive_scaling_source_corrected_minutes_total",
    "Minutes whose value changed because the source had another value when it was read again.",
    ["source"],
)
SOURCE_FAILURES = Counter(
    "predictive_scaling_source_failures_total",
    "Failed requests to a pull source by cause: unavailable, refused, too_large, incomplete, database, error.",
    ["source", "cause"],
)
SOURCE_AGE = Gauge(
    "predictive_scaling_source_age_seconds",
    "Age of the newest time up to which every query of a pull source was read, in the process that reads them.",
    ["source"],
)
SOURCE_BACKFILL = Gauge(
    "predictive_scaling_source_history_ratio",
    "Share of the history of a pull source that was read, in the process that reads it.",
    ["source"],
)
