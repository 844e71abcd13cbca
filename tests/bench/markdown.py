"""Tables and sections of a Markdown file."""

import re
from collections.abc import Iterable, Mapping


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """One line for each row."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def with_sections(text: str, sections: Mapping[str, str]) -> str:
    """The text with the bodies of sections of the third level replaced, by heading. Raises KeyError for an unknown one.

    >>> with_sections("intro\\n\\n### One\\n\\nold\\n\\n### Two\\n\\nkept\\n", {"One": "new"})
    'intro\\n\\n### One\\n\\nnew\\n\\n### Two\\n\\nkept\\n'
    """
    for heading, body in sections.items():
        pattern = re.compile(rf"(?ms)^### {re.escape(heading)}\n.*?(?=^### |\Z)")
        found = pattern.search(text)
        if found is None:
            raise KeyError(heading)
        end = "" if found.end() == len(text) else "\n"
        text = f"{text[: found.start()]}### {heading}\n\n{body}\n{end}{text[found.end() :]}"
    return text
