"""Where the model that many series share is kept."""

from predictive_scaling.training.series_keys import SeriesKey

SHARED = SeriesKey("shared", "*", "*")
"""Its key among the models: no metric has such a name."""
