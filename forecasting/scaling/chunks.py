"""A recurrence over a long time, as many stretches side by side: to the last digit what one after the other gives.

A step of numpy costs as much for ten columns as for a thousand. So each column is cut into stretches that are computed
at once, each from a guess of how it begins; then each from how the one before it ended, until none ends otherwise. What
is remembered is short, so that most soon do again what they did before, and are left alone. A week at 15 seconds takes
a tenth of the time.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int32]
ChunkColumns = npt.NDArray[np.intp]
"""A lane is one stretch of one column; those of a stretch stand side by side."""

Scalar = TypeVar("Scalar", bound=np.generic)

CHUNK_STEPS = 480
"""Steps of a stretch: two hours at 15 seconds."""
_LOOK_EVERY = 16


class Recurrence(Protocol):
    """What is computed at each step from what was before."""

    @property
    def memory(self) -> int:
        """Lanes that agree in so many results in a row go on alike."""
        ...

    def guess(self) -> list[Counts]:
        """What was before each stretch, a row a step, newest last: shapes (rows, lanes). The first stretch's is true.

        The first of them are results.
        """
        ...

    def step(self, past: Sequence[Counts], at: int, lanes: ChunkColumns | None) -> tuple[Counts, ...]:
        """The next row of each. past: as in `guess`, for `lanes` (None: all). at: the step within the stretch."""
        ...


def taken(row: npt.NDArray[Scalar], lanes: ChunkColumns | None) -> npt.NDArray[Scalar]:
    """The part of a row that these lanes have; all of it for None."""
    return row if lanes is None else row[lanes]


def split_into_chunks(steps: int, memory: int) -> tuple[int, int]:
    """Into how many stretches of what length a time is cut best: shape (stretches, length)."""
    length = min(CHUNK_STEPS, steps) if memory < CHUNK_STEPS else steps
    return -(-steps // length), length


def to_chunks(values: npt.NDArray[Scalar], stretches: int, length: int) -> npt.NDArray[Scalar]:
    """From shape (steps, columns) to (length, lanes); the last stretch goes on with the last row."""
    padded = np.pad(values, ((0, stretches * length - len(values)), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded.reshape(stretches, length, -1).transpose(1, 0, 2)).reshape(length, -1)


def from_chunks(values: Counts, stretches: int, steps: int) -> Counts:
    """From shape (length, lanes) back to (steps, columns)."""
    length = len(values)
    return values.reshape(length, stretches, -1).transpose(1, 0, 2).reshape(stretches * length, -1)[:steps]


def run(recurrence: Recurrence, columns: int, stretches: int, length: int) -> Counts:
    """All results: shape (length, lanes)."""
    lanes = np.arange(stretches * columns)
    found = np.empty((length, len(lanes)), np.int32)
    ends = _first(recurrence, found)
    again = lanes[columns:]
    while len(again):
        begins = [end[:, again - columns] for end in ends]
        other, left = _rerun(recurrence, begins, again, found)
        for end, new in zip(ends, other, strict=True):
            end[:, left] = new
        again = left[left < len(lanes) - columns] + columns
    return found


def _first(recurrence: Recurrence, found: Counts) -> list[Counts]:
    """Compute every lane from its guess; says what is remembered at the ends."""
    rooms = [_room(rows, len(found)) for rows in recurrence.guess()]
    widths = [len(room) - len(found) for room in rooms]
    for at in range(len(found)):
        past = [room[at : at + width] for room, width in zip(rooms, widths, strict=True)]
        for room, width, row in zip(rooms, widths, recurrence.step(past, at, None), strict=True):
            room[at + width] = row
        found[at] = rooms[0][at + widths[0]]
    return [room[len(found) :] for room in rooms]


def _rerun(
    recurrence: Recurrence, begins: list[Counts], lanes: ChunkColumns, found: Counts
) -> tuple[list[Counts], ChunkColumns]:
    """Compute lanes anew until they do what they did before; what those remember that never did, and which they are."""
    same, past = np.zeros(len(lanes), np.int32), begins
    for at in range(len(found)):
        rows = recurrence.step(past, at, lanes)
        same = np.where(rows[0] == found[at, lanes], same + 1, 0)
        found[at, lanes] = rows[0]
        past = [_later(before, row) for before, row in zip(past, rows, strict=True)]
        if at % _LOOK_EVERY == _LOOK_EVERY - 1:
            other = same < recurrence.memory
            if not other.all():
                same, lanes, past = same[other], lanes[other], [rows[:, other] for rows in past]
            if not len(lanes):
                break
    return past, lanes


def _room(rows: Counts, length: int) -> Counts:
    return np.concatenate((rows, np.empty((length, rows.shape[1]), rows.dtype)))


def _later(before: Counts, row: Counts) -> Counts:
    """One step on; of what is not remembered at all nothing is."""
    return np.concatenate((before[1:], row[None])) if len(before) else before
