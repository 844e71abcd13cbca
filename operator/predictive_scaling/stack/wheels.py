"""Servers from Python packages of the extra `stack`."""

import importlib.util
from pathlib import Path

from predictive_scaling.errors import StackError


def package_folder(package: str, part: str) -> Path:
    """Return the folder of an installed package. Raises StackError with the extra if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise StackError(f"{part} needs the Python package {package}; run: pip install 'predictive-scaling[stack]'")
    return Path(spec.submodule_search_locations[0])
