"""The web page at /: its files are in web/, and its data comes from the other routes."""

from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response

from predictive_scaling.api.responses import conditional_response

router = APIRouter(include_in_schema=False)

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: scripts and styles of this server only, none inline."""

INDEX = "index.html"
_MEDIA_TYPES = MappingProxyType(
    {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
)


@router.get("/")
async def show_page(request: Request) -> Response:
    """Return the page."""
    return _file(request, INDEX)


@router.get("/assets/{name}")
async def show_asset(name: Annotated[str, Path(max_length=100)], request: Request) -> Response:
    """Return a script, the style sheet or the icon of the page."""
    if name == INDEX or name not in assets():
        raise HTTPException(404)
    return _file(request, name)


@cache
def assets() -> MappingProxyType[str, bytes]:
    """Return the files of the page by name."""
    folder = resources.files(__package__ or "").joinpath("web")
    return MappingProxyType(
        {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _MEDIA_TYPES}
    )


def _file(request: Request, name: str) -> Response:
    response = conditional_response(request, assets()[name], _MEDIA_TYPES[name.rpartition(".")[2]])
    response.headers["Content-Security-Policy"] = CONTENT_POLICY
    return response
