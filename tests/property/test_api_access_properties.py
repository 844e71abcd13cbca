"""The access rules choose the rule of the route that the router chooses, for any path."""

from typing import Any, cast

from fastapi.routing import iter_route_contexts
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.routing import Match, Route, Router

from predictive_scaling.access.bearer_token import TOKEN, InvalidCredentialError, bearer_token
from predictive_scaling.api.access_rules import RULES, match_rule
from predictive_scaling.api.application import create_app
from predictive_scaling.api.services import Services
from predictive_scaling.api.visible_namespaces import Visible

SEGMENTS = sorted({segment for _, path in RULES for segment in path.split("/") if segment})
paths = st.lists(st.sampled_from(["", *SEGMENTS]) | st.text(max_size=5), max_size=8).map(
    lambda parts: "/".join(["", *parts])
)
filled = st.sampled_from(sorted(RULES)).flatmap(
    lambda route: st.text(min_size=1, max_size=8).map(lambda text: _fill(route[1], text))
)
names = st.lists(st.sampled_from(["shop", "bank", "a", "b", "ab"]), unique=True).map(tuple)


def _fill(path: str, text: str) -> str:
    for parameter in ("{namespace}", "{name}", "{id}"):
        path = path.replace(parameter, text)
    return path


def _router() -> Router:
    """Return a router with the routes of the application by themselves."""
    application = create_app(Services(*cast("Any", (None,) * 4)))
    contexts = cast("Any", iter_route_contexts(application.router.routes))
    return Router([Route(context.path, _no_response, methods=sorted(context.methods)) for context in contexts])


async def _no_response(_: Any) -> None:
    """Is never called."""


ROUTER = _router()


@given(st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD"]), paths | filled)
@example("GET", "/api/v1/policies/a\nb/c/frontier")
@example("GET", "/api/v1/commands/{id}")
@example("GET", "/api/v1/policies/{namespace}/{name}/frontier")
@example("GET", "/api/v1/policies/x/y/frontier\n")
def test_a_request_that_the_router_accepts_has_the_rule_of_its_route(method: str, path: str) -> None:
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    matched = [
        (route, child) for route in ROUTER.routes for match, child in [route.matches(scope)] if match is Match.FULL
    ]
    found = match_rule(method, path)
    if not matched:
        assert found is None or method == "HEAD"
        return
    route, child = matched[0]
    assert isinstance(route, Route)
    assert found is not None
    assert found.rule is RULES["GET" if method == "HEAD" else method, route.path]
    assert (found.namespace, found.name) == (child["path_params"].get("namespace"), child["path_params"].get("name"))


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_any_authorization_header_is_a_token_or_refused(value: bytes) -> None:
    try:
        token = bearer_token([(b"authorization", value)])
    except InvalidCredentialError:
        return
    assert token is not None
    assert TOKEN.fullmatch(token)
    assert token.isascii()


@given(st.none() | names, st.none() | st.sampled_from(["shop", "bank", "other"]))
def test_a_filter_never_shows_more(visible: tuple[str, ...] | None, namespace: str | None) -> None:
    part = Visible(visible).within(namespace)
    if namespace is None:
        assert part == Visible(visible)
    else:
        assert part.names in ((namespace,), ())
        assert bool(part.names) == (visible is None or namespace in visible)


@given(st.none() | names, st.none() | names)
def test_only_callers_who_see_the_same_namespaces_share_cached_responses(
    first: tuple[str, ...] | None, second: tuple[str, ...] | None
) -> None:
    sets = [None if chosen is None else set(chosen) for chosen in (first, second)]
    assert (Visible(first).key == Visible(second).key) == (sets[0] == sets[1])
    assert "/" not in Visible(first).key
