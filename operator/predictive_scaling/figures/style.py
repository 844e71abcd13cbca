"""How all our pages look, in light and in dark."""

from importlib import resources


def page_style() -> str:
    """The style sheet that goes into a page."""
    return resources.files(__package__ or "").joinpath("page.css").read_text(encoding="utf-8")
