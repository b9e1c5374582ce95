"""The routes on tokens: a user makes some, sees his own, and revokes them."""

from __future__ import annotations

from jobpush.core import wire
from jobpush.service import JobPush
from jobpush.web.params import Params, body_of, decoded
from jobpush.web.principal import Principal
from jobpush.web.problems import Problem, who_are_you
from jobpush.web.requests import ClientRequest
from jobpush.web.responses import Response, json_response
from jobpush.web.tokens import HOURS, KEPT, MOST_HOURS, MOST_LABEL, Token, Tokens, scopes_of

_MAKE = frozenset({"scopes", "hours", "label"})


class TokenRoutes:
    """``/v1/tokens``."""

    def __init__(self, service: JobPush, tokens: Tokens) -> None:
        self._service = service
        self._tokens = tokens

    async def make(self, request: ClientRequest) -> Response:
        """A new token for whoever asks. It is in this response and nowhere else."""
        principal = _identified(request)
        if principal.credential.startswith(KEPT):
            raise Problem(403, "a token makes no tokens: ask over the unix socket, or with what you sign in with")
        has_body = request.content.read(1) != b""
        request.content.seek(0)
        params = Params(self._service, body_of(request) if has_body else decoded(request.args), _MAKE)
        scopes = scopes_of(params.values("scopes"))
        label = params.text("label") or ""
        if len(label) > MOST_LABEL or not label.isprintable():
            raise Problem(400, f"label: expected at most {MOST_LABEL} printable characters", "label")
        hours = _hours(params)
        if principal.expires_at is not None:  # what is made of a credential does not outlast it
            hours = min(hours, (principal.expires_at - self._service.reactor.seconds()) / 3600.0)
        text, token = await self._tokens.make(principal.name, scopes & principal.scopes, hours, label)
        return self._json({"token": text, **_fields(token)}, 201)

    def list(self, request: ClientRequest) -> Response:
        """Those of whoever asks; never what they are made of."""
        principal = _identified(request)
        Params(self._service, decoded(request.args), frozenset())
        return self._json({"tokens": [_fields(token) for token in self._tokens.of(principal.name)]})

    async def revoke(self, request: ClientRequest, token_id: str) -> Response:
        """One of whoever asks, by its id, is good no more; with ``all`` each of them."""
        principal = _identified(request)
        own = self._tokens.of(principal.name)
        chosen = own if token_id == "all" else [token for token in own if token.id == token_id]
        if not chosen and token_id != "all":
            raise Problem(404, f"{principal.name} has no token {token_id[:100]}", "id")
        await self._tokens.revoke(chosen)
        return Response(204, (), b"")

    def _json(self, fields: dict[str, object], status: int = 200) -> Response:
        response = json_response(wire.dumps(fields), self._service.feed.cursor(), status=status)
        response.headers = tuple(
            (name, b"no-store" if name == b"cache-control" else value) for name, value in response.headers
        )
        return response


def _identified(request: ClientRequest) -> Principal:
    """Return who asks; nobody has no tokens."""
    if request.principal.is_anonymous:
        raise who_are_you("who asks must say who he is: use the unix socket")
    return request.principal


def _hours(params: Params) -> float:
    value = params.one("hours")
    if value is None:
        return HOURS
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_HOURS:
        raise Problem(400, f"hours: expected a number over 0 and up to {MOST_HOURS:g}", "hours")
    return float(value)


def _fields(token: Token) -> dict[str, object]:
    return {
        "id": token.id,
        "user": token.user,
        "label": token.label,
        "scopes": sorted(scope.value for scope in token.scopes),
        "made_at": wire.to_time(token.made_at),
        "expires_at": wire.to_time(token.good_until),
    }
