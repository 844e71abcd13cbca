"""A monotonic clock that a test moves."""

from types import ModuleType

import pytest


class ManualSeconds:
    """The monotonic clock of these modules; it stands still until a test changes `now`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        self.now = 1000.0
        for module in modules:
            monkeypatch.setattr(module, "monotonic", self)

    def __call__(self) -> float:
        return self.now
