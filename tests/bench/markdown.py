"""Tables and sections of a Markdown file."""

import re
from collections.abc import Iterable, Mapping


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """One line for each row."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def section(text: str, heading: str, level: int = 3) -> str:
    """The body of a section, up to the next heading of its level or above. Raises KeyError for an unknown heading."""
    begin, end = _body(text, heading, level)
    return text[begin:end]


def with_sections(text: str, sections: Mapping[str, str], level: int = 3) -> str:
    """The text with the bodies of sections replaced, by heading. Raises KeyError for an unknown heading.

    >>> with_sections("intro\\n\\n### One\\n\\nold\\n\\n### Two\\n\\nkept\\n", {"One": "new"})
    'intro\\n\\n### One\\n\\nnew\\n\\n### Two\\n\\nkept\\n'
    """
    for heading, body in sections.items():
        begin, end = _body(text, heading, level)
        separator = "" if end == len(text) else "\n"
        text = f"{text[:begin]}\n{body}\n{separator}{text[end:]}"
    return text


def _body(text: str, heading: str, level: int) -> tuple[int, int]:
    marks = "#" * level
    match = re.search(rf"(?ms)^{marks} {re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text)
    if match is None:
        raise KeyError(heading)
    return match.span(1)
