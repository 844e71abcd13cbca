"""Content of Markdown documents: code blocks, heading anchors, words in code."""

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"

_FENCE = re.compile(r"(?:^<!-- not run: ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block and its position.

    number: within its heading, from 1. not_run: why tests cannot run it, from the comment `<!-- not run: … -->` above.
    """

    anchor: str
    number: int
    language: str
    text: str
    not_run: str | None = None

    @property
    def name(self) -> str:
        return f"{self.anchor}-{self.number}"


def blocks(document: str) -> list[Block]:
    """Return all fenced blocks, in order."""
    result: list[Block] = []
    for fence in _FENCE.finditer(document):
        anchor = anchors(document[: fence.start()])[-1]
        number = 1 + sum(block.anchor == anchor for block in result)
        result.append(Block(anchor, number, fence[2], fence[3], fence[1]))
    return result


def anchors(document: str) -> list[str]:
    """Return the anchors of all headings, in order, as GitHub generates them."""
    return [anchor(title) for title in _HEADING.findall(_FENCE.sub("", document))]


def anchor(title: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def words(document: str) -> set[str]:
    """Return the words in code outside blocks."""
    return set(_CODE.findall(_FENCE.sub("", document)))
