"""The layout that all reports share: head, style sheet, verdict and tiles, in light and in dark."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template


@dataclass(frozen=True, slots=True)
class Page:
    """A report as a self-contained page. Texts are plain; tiles and content are HTML, style is CSS."""

    title: str
    heading: str
    lead: str
    verdict_style: str
    """`good`, `bad` or `none`."""
    verdict: str
    tiles: Iterable[str]
    content: str
    style: str = ""
    """Rules of this page, after the shared style sheet."""

    def render(self) -> str:
        """Return the page as HTML."""
        return Template(_read("page.html")).substitute(
            title=escape(self.title),
            style=_read("page.css") + self.style,
            heading=escape(self.heading),
            lead=escape(self.lead),
            verdict_style=self.verdict_style,
            verdict=escape(self.verdict),
            tiles="".join(self.tiles),
            content=self.content,
        )


def tile(name: str, figures: str, note: str) -> str:
    """Return a tile as HTML. figures: HTML, such as a `before_after`."""
    return (
        f'<div class="card tile"><div class="name">{escape(name)}</div><div class="pair">{figures}</div>'
        f'<div class="note">{escape(note)}</div></div>'
    )


def before_after(hpa_only: str, predictive: str) -> str:
    """Return the numbers of the HPA alone and of the policy as HTML, with an arrow between them."""
    return f'<span class="was alone">{hpa_only}</span><span>→</span><span class="big ahead">{predictive}</span>'


def _read(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")
