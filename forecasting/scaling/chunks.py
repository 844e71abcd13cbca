"""A batched recurrence: a long time axis as chunks that are computed concurrently, with the same digits as in sequence.

A step of numpy costs as much for ten columns as for a thousand. Therefore each column is cut into chunks that are
computed at once, each from a guess of its initial state. Chunks whose predecessor ended in another state than guessed
are computed again from that state, until no state changes. The state is short, so most chunks soon repeat their earlier
results and stop early. A week at 15 seconds takes a tenth of the time.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int32]
ChunkColumns = npt.NDArray[np.intp]
"""Indices of chunk columns. A chunk column is one chunk of one column; those of one chunk are adjacent."""

Scalar = TypeVar("Scalar", bound=np.generic)

CHUNK_STEPS = 480
"""Steps of a chunk: two hours at 15 seconds."""
_CHECK_INTERVAL = 16
"""Steps between two checks for chunk columns that repeat their earlier results."""


class Recurrence(Protocol):
    """The computation of each step from the state before it."""

    @property
    def memory(self) -> int:
        """The number of equal consecutive results after which two runs of a chunk column stay equal."""
        ...

    def guess(self) -> list[Counts]:
        """Return the state before each chunk, a row a step, newest last: shapes (rows, chunk columns).

        The first array holds results. The state of the first chunk is exact.
        """
        ...

    def step(self, past: Sequence[Counts], at: int, selected: ChunkColumns | None) -> tuple[Counts, ...]:
        """Return the next row of each array of the state.

        past: as in `guess`, for the `selected` chunk columns (None: all). at: the step within the chunk.
        """
        ...


def select(row: npt.NDArray[Scalar], selected: ChunkColumns | None) -> npt.NDArray[Scalar]:
    """Return the entries of the selected chunk columns; the entire row for None."""
    return row if selected is None else row[selected]


def split_into_chunks(steps: int, memory: int) -> tuple[int, int]:
    """Return the number of chunks and their length in steps."""
    length = min(CHUNK_STEPS, steps) if memory < CHUNK_STEPS else steps
    return -(-steps // length), length


def to_chunks(values: npt.NDArray[Scalar], chunks: int, length: int) -> npt.NDArray[Scalar]:
    """Return values of shape (steps, columns) as (length, chunk columns); the last chunk repeats the last row."""
    padded = np.pad(values, ((0, chunks * length - len(values)), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded.reshape(chunks, length, -1).transpose(1, 0, 2)).reshape(length, -1)


def from_chunks(values: Counts, chunks: int, steps: int) -> Counts:
    """Return values of shape (length, chunk columns) as (steps, columns)."""
    length = len(values)
    return values.reshape(length, chunks, -1).transpose(1, 0, 2).reshape(chunks * length, -1)[:steps]


def run(recurrence: Recurrence, columns: int, chunks: int, length: int) -> Counts:
    """Return all results: shape (length, chunk columns)."""
    chunk_columns = np.arange(chunks * columns)
    results = np.empty((length, len(chunk_columns)), np.int32)
    end_states = _run_from_guess(recurrence, results)
    pending = chunk_columns[columns:]
    while len(pending):
        initial_states = [state[:, pending - columns] for state in end_states]
        new_states, changed = _rerun(recurrence, initial_states, pending, results)
        for end_state, new_state in zip(end_states, new_states, strict=True):
            end_state[:, changed] = new_state
        pending = changed[changed < len(chunk_columns) - columns] + columns
    return results


def _run_from_guess(recurrence: Recurrence, results: Counts) -> list[Counts]:
    """Compute every chunk column from its guess into `results`; return the states at their ends."""
    buffers = [_buffer(rows, len(results)) for rows in recurrence.guess()]
    widths = [len(buffer) - len(results) for buffer in buffers]
    for at in range(len(results)):
        past = [buffer[at : at + width] for buffer, width in zip(buffers, widths, strict=True)]
        for buffer, width, row in zip(buffers, widths, recurrence.step(past, at, None), strict=True):
            buffer[at + width] = row
        results[at] = buffers[0][at + widths[0]]
    return [buffer[len(results) :] for buffer in buffers]


def _rerun(
    recurrence: Recurrence, initial_states: list[Counts], selected: ChunkColumns, results: Counts
) -> tuple[list[Counts], ChunkColumns]:
    """Compute chunk columns again, each until it repeats its earlier results.

    Returns the end states of those that never did, and their indices.
    """
    equal_steps, past = np.zeros(len(selected), np.int32), initial_states
    for at in range(len(results)):
        rows = recurrence.step(past, at, selected)
        equal_steps = np.where(rows[0] == results[at, selected], equal_steps + 1, 0)
        results[at, selected] = rows[0]
        past = [_shifted(state, row) for state, row in zip(past, rows, strict=True)]
        if at % _CHECK_INTERVAL == _CHECK_INTERVAL - 1:
            differs = equal_steps < recurrence.memory
            if not differs.all():
                equal_steps, selected, past = (
                    equal_steps[differs],
                    selected[differs],
                    [rows[:, differs] for rows in past],
                )
            if not len(selected):
                break
    return past, selected


def _buffer(rows: Counts, length: int) -> Counts:
    return np.concatenate((rows, np.empty((length, rows.shape[1]), rows.dtype)))


def _shifted(state: Counts, row: Counts) -> Counts:
    """The state one step later; an empty state stays empty."""
    return np.concatenate((state[1:], row[None])) if len(state) else state
