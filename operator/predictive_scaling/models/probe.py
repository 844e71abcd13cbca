"""Child process that loads models which may crash it: `python -m predictive_scaling.models.probe SECONDS FOLDER…`.

It writes one line of JSON for each folder, in order: {"problem": ""} if the model is good.
"""

import json
import resource
import sys
from pathlib import Path

import numpy as np

# LightGBM imports pandas where it is installed, which takes half of this process's time; the probe does not need it.
sys.modules.setdefault("pandas", None)  # pyright: ignore[reportArgumentType]
import lightgbm as lgb  # noqa: E402

_MAX_TREES = 5000
_MAX_LOG = 25.0
_ROW_COUNT = 64


def problem_of(folder: Path) -> str:
    """Return the problem of a folder's boosters; empty if there is none."""
    for path in sorted(folder.glob("q*.txt")):
        booster = lgb.Booster(model_str=path.read_text(encoding="utf-8"))
        if booster.num_trees() > _MAX_TREES:
            return f"{path} has {booster.num_trees()} trees, expected at most {_MAX_TREES}"
        predicted = np.asarray(booster.predict(_matrix(booster.num_feature()), num_threads=1))
        if not np.isfinite(predicted).all() or np.abs(predicted).max() > _MAX_LOG:
            return f"{path} predicts values that are not finite or beyond e to the {_MAX_LOG:.0f}"
    return ""


def _matrix(features: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return rows of features with usual and extreme values, one row of zeros and one row of NaN."""
    rows = np.random.default_rng(0).normal(size=(_ROW_COUNT, features)) * np.geomspace(0.1, 1000, _ROW_COUNT)[:, None]
    rows[0], rows[1] = 0.0, np.nan
    return rows


def main(arguments: list[str]) -> None:
    """Probe each folder, and write each result at once, because the next folder may crash the process.

    arguments: the CPU time limit in seconds, then the folders.
    """
    limit_seconds = int(arguments[0])
    resource.setrlimit(resource.RLIMIT_CPU, (limit_seconds, limit_seconds + 1))
    for folder in arguments[1:]:
        try:
            problem = problem_of(Path(folder))
        except (lgb.basic.LightGBMError, OSError, ValueError) as error:
            problem = f"{folder}: {error}"
        sys.stdout.write(json.dumps({"problem": problem}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
