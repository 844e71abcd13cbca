"""Quantile forecasts of time series. Pure: no clock, no network, no files except models.

`regularize` turns irregular samples into a series; `naive_batch` forecasts thousands of series in a batch. Each series
has its own time zone and public holidays:

>>> from datetime import UTC, datetime, timedelta
>>> from zoneinfo import ZoneInfo
>>> from forecasting.context import Context
>>> from forecasting.models.last_value import LastValue
>>> from forecasting.models.seasonal_naive import SeasonalNaive
>>> from forecasting.cleaning.regularize import regularize
>>> from forecasting.seasons import seasons
>>> from forecasting.naive_batch import naive_batch
>>> noon = datetime(2026, 11, 16, 12, tzinfo=UTC)
>>> times = [noon - index * timedelta(minutes=10) for index in range(1, 1009)]
>>> paris = Context(ZoneInfo("Europe/Paris"), country="FR")
>>> shop = regularize("shop", times, [10.0 + at.hour for at in times], context=paris).series
>>> shop.step, seasons(shop)[0].period
(datetime.timedelta(seconds=600), datetime.timedelta(days=1))
>>> (forecast,) = naive_batch([shop], [LastValue(), SeasonalNaive()], steps=7)
>>> forecast.model, forecast.at(0.9).round(1).tolist()
('SeasonalNaive', [22.0, 22.0, 22.0, 22.0, 22.0, 22.0, 23.0])

Trainable models are in `forecasting.models` and share an interface (`forecasting.forecaster`). They are evaluated by
walk-forward (`forecasting.walk_forward`), calibrated (`forecasting.calibration`) and must pass a quality gate
(`forecasting.quality.gate`).
"""
