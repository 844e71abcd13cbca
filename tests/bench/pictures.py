"""The pictures of docs/forecasting.md, drawn from build/bench.json: python -m tests.bench.pictures [JSON] [FOLDER].

Needs matplotlib, which `make bench` installs.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from tests.bench.accuracy import OURS
from tests.bench.verdicts import COVERED, HORIZON_MINUTES

# Installed by the extra `bench` only.
mpl: Any = import_module("matplotlib")
mpl.use("svg")
plt: Any = import_module("matplotlib.pyplot")

ROOT = Path(__file__).parents[2]
_INK, _OURS, _PALE, _BAD = "#24292f", "#0969da", "#afb8c1", "#cf222e"
_METHODS = {
    OURS: ("LightGBM, a model a series", _OURS, "-"),
    "LightGBM-shared": ("LightGBM, one for all", "#54aeff", "--"),
    "HoltWinters": ("Holt-Winters", "#8250df", "-"),
    "LastValue": ("last value", _INK, "-"),
    "SeasonalNaive": ("seasonal naive", "#bf8700", "-"),
    "Prophet": ("Prophet", "#1a7f37", "-"),
}
_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _PALE,
    "axes.grid": True,
    "grid.color": "#eaeef2",
    "svg.fonttype": "path",
    # A fixed salt, so that the same numbers give the same file.
    "svg.hashsalt": "forecasting",
}


def draw(
    results: Annotated[Path, typer.Argument(exists=True, dir_okay=False)] = ROOT / "build" / "bench.json",
    folder: Annotated[Path, typer.Argument(file_okay=False)] = ROOT / "docs" / "images",
) -> None:
    """Draw the results of a run of the benchmarks."""
    document = json.loads(results.read_text())
    with mpl.rc_context(_STYLE):
        for name, picture in (("wape", wape), ("coverage", coverage), ("frontier", frontier), ("batches", batches)):
            figure = picture(document)
            figure.savefig(folder / f"forecasting-{name}.svg", bbox_inches="tight", metadata={"Date": None})
            plt.close(figure)


def wape(document: dict[str, Any]) -> Any:
    """Mean error of the development series by horizon, a line for each method."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for method, means in document["mean_wape"].items():
        label, colour, line = _METHODS.get(method, (method, _PALE, "-"))
        values = [np.nan if mean is None else mean for mean in means]
        axes.plot(HORIZON_MINUTES, values, line, marker="o", markersize=4, color=colour, label=label)
    axes.set(xlabel="minutes ahead", ylabel="WAPE", xticks=HORIZON_MINUTES, ylim=(0.2, None))
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def coverage(document: dict[str, Any]) -> Any:
    """The share of actuals below each quantile, a row for each series, before and after calibration."""
    names = [name for name, methods in document["accuracy"].items() if methods[OURS]["coverage"]]
    figure, axes = plt.subplots(figsize=(7, 0.42 * len(names) + 1))
    for position, name in enumerate(reversed(names)):
        scores = document["accuracy"][name][OURS]
        for raw, live in zip(scores["raw_coverage"], scores["coverage"], strict=True):
            axes.plot([raw, live], [position, position], color=_PALE, linewidth=2, zorder=1)
            axes.scatter(raw, position, s=26, facecolors="white", edgecolors=_INK, zorder=2)
            axes.scatter(live, position, s=30, color=_OURS, zorder=3)
    for quantile in COVERED:
        axes.axvline(quantile, color=_BAD, linewidth=0.8, linestyle=":")
    axes.scatter([], [], s=26, facecolors="white", edgecolors=_INK, label="as the model has it")
    axes.scatter([], [], s=30, color=_OURS, label="calibrated on its own errors")
    axes.set(yticks=range(len(names)), yticklabels=list(reversed(names)), xlabel="share of actuals at or below")
    axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def frontier(document: dict[str, Any]) -> Any:
    """Minutes short against replica-hours, means over the development series."""
    figure, axes = plt.subplots(figsize=(7, 4.4))
    for line in document["mean_frontier"]:
        target = line["hpa_target"]
        is_present_target = abs(target - document["present_target"]) < 1e-9
        axes.plot(
            line["hours"],
            line["short"],
            color=_OURS if is_present_target else _PALE,
            linewidth=2 if is_present_target else 1,
            marker="o",
            markersize=3,
            zorder=3 if is_present_target else 1,
        )
        axes.annotate(
            f"{target:.0%}",
            (line["hours"][0], line["short"][0]),
            fontsize=7,
            color=_INK,
            xytext=(2, 2),
            textcoords="offset points",
        )
    for way, (label, marker) in {
        "hpa_only": ("the HPA alone", "s"),
        "predictive": ("p90", "D"),
        "tuned": ("quantile by its price", "^"),
        "tuned_with_target": ("and the HPA's target", "v"),
        "clairvoyant": ("knows the future", "*"),
    }.items():
        point = document["mean_scaling"][way]
        axes.scatter(
            point["hours"],
            point["short"],
            marker=marker,
            s=60,
            color=_BAD if way == "hpa_only" else _INK,
            label=label,
            zorder=4,
        )
    axes.set(xlabel="replica-hours, relative to the HPA alone", ylabel="share of time under-provisioned")
    axes.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0))
    axes.legend(frameon=False, fontsize=9)
    return figure


def batches(document: dict[str, Any]) -> Any:
    """Seconds of one batch, by how many it is for."""
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for what, label, colour in (("batches", "forecast", _OURS), ("deciding", "decide", _INK)):
        rows = document[what]
        axes.loglog([row["count"] for row in rows], [row["seconds"] for row in rows], "-o", color=colour, label=label)
    axes.axhline(document["training"]["holt_winters_seconds"], color=_PALE, linestyle=":")
    axes.annotate(
        "one Holt-Winters fit",
        (1, document["training"]["holt_winters_seconds"]),
        fontsize=8,
        color=_INK,
        xytext=(2, 3),
        textcoords="offset points",
    )
    axes.set(xlabel="policies", ylabel="seconds")
    axes.legend(frameon=False, fontsize=9)
    return figure


if __name__ == "__main__":
    typer.run(draw)
