"""What documents hold: blocks of commands, headings and their anchors, words in code."""

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, and where it stands. number: within its heading, from 1."""

    anchor: str
    number: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.anchor}-{self.number}"


def blocks(document: str) -> list[Block]:
    """All fenced blocks, in order."""
    found: list[Block] = []
    for fence in _FENCE.finditer(document):
        anchor = anchors(document[: fence.start()])[-1]
        number = 1 + sum(block.anchor == anchor for block in found)
        found.append(Block(anchor, number, fence[1], fence[2]))
    return found


def anchors(document: str) -> list[str]:
    """The anchors of all headings, in order, as GitHub makes them."""
    return [anchor(title) for title in _HEADING.findall(_FENCE.sub("", document))]


def anchor(title: str) -> str:
    """A heading's anchor."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def words(document: str) -> set[str]:
    """Everything that is set in code outside blocks."""
    return set(_CODE.findall(_FENCE.sub("", document)))
