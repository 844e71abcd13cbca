"""Models for the series that policies scale by: trained in child processes, taken up without a restart."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.control.demand_window import DemandWindow
from predictive_scaling.control.events import Events, Happened
from predictive_scaling.control.state import States
from predictive_scaling.handlers.inventory import Inventory
from predictive_scaling.training.manifest import Manifest
from predictive_scaling.training.reload import ReloadReport
from predictive_scaling.training.series_keys import SeriesKey

log = structlog.get_logger(__name__)

ENOUGH_HISTORY = timedelta(days=2)
_RETRY = timedelta(hours=1)
_PATIENCE_SECONDS = 900.0
_NICER = 10


class Shelf(Protocol):
    """The part of training.reload.ModelShelf that is used here."""

    async def refresh(self) -> ReloadReport:
        """Take up what was published since the last call."""
        ...

    def models(self) -> Mapping[SeriesKey, Manifest]:
        """What is in use."""
        ...


@dataclass(slots=True)
class ModelDesk:
    """Keeps models coming. Trainings run one at a time, below the operator's own priority."""

    shelf: Shelf
    window: DemandWindow
    states: States
    inventory: Inventory
    events: Events
    clock: Clock
    interval: timedelta
    trains: bool
    """Whether trainings are started here; otherwise models come from elsewhere, and are only taken up."""
    _tried: dict[SeriesKey, datetime] = field(default_factory=dict[SeriesKey, datetime])

    async def turn(self) -> None:
        """Take up what was published, and train the series that needs it most."""
        await self.take_up()
        wanted = self._most_wanted() if self.trains else None
        if wanted is None:
            return
        self._tried[wanted] = self.clock.now()
        if await self._train(wanted):
            await self.take_up()

    async def take_up(self) -> ReloadReport:
        """Load what is new in the models folder, and tell of it."""
        report = await self.shelf.refresh()
        for model in report.reloaded:
            log.info("model_promoted", series=str(model.key), version=model.version, verdict=model.verdict)
            self._tell(model.key, Happened.MODEL_PROMOTED, f"{model.version}: {model.verdict}")
        for refused in report.rejected:
            log.warning("model_rejected", file=refused.file, reason=refused.reason)
            for key in self._series():
                if refused.file.startswith(key.slug):
                    self._tell(key, Happened.MODEL_REJECTED, f"{refused.file}: {refused.reason}")
        return report

    def _most_wanted(self) -> SeriesKey | None:
        """A series without a model first, then the one whose last training is longest ago; None where none is due."""
        now, models = self.clock.now(), self.shelf.models()
        due = [
            (key in models, self._tried.get(key, _NEVER), key)
            for key in self._series()
            if self._is_due(key, models.get(key), now)
        ]
        return min(due)[2] if due else None

    def _is_due(self, key: SeriesKey, model: Manifest | None, now: datetime) -> bool:
        tried = self._tried.get(key)
        if tried is not None and now - tried < (self.interval if model else min(_RETRY, self.interval)):
            return False
        if model is not None:
            return now - model.trained_until >= self.interval
        return self.window.observed(key) >= ENOUGH_HISTORY

    def _series(self) -> set[SeriesKey]:
        return {need.series for need in self.states.needs()}

    def _tell(self, key: SeriesKey, what: Happened, note: str) -> None:
        for need in self.states.needs():
            record = self.inventory.policy(need.key) if need.series == key else None
            if record is not None:
                self.events.about(record, what, note)

    async def _train(self, key: SeriesKey) -> bool:
        chosen = ("--service", key.service, "--metric", key.metric, "--aggregation", key.aggregation)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "predictive_scaling", "train", *chosen, "--output", "json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICER)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                _, complaint = await process.communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if process.returncode:
            last = complaint.decode(errors="replace").strip().splitlines()[-1:]
            log.info("training_failed", series=str(key), exit_code=process.returncode, message=" ".join(last)[:500])
        return process.returncode == 0


_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
