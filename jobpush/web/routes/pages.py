"""
What people and programs read about the service: the dashboard, the interface's description, the metrics.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from twisted.web.http import CACHED
from werkzeug.exceptions import NotFound

from jobpush.core import wire
from jobpush.web.metrics import Metrics
from jobpush.web.openapi import document
from jobpush.web.principal import Principal
from jobpush.web.problems import Problem
from jobpush.web.reference import page
from jobpush.web.requests import ClientRequest
from jobpush.web.static import Static

DASHBOARD = Path(__file__).parent.parent / "dashboard"

#: What the dashboard is made of, by the end of the file's name.
TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
}

#: Nothing from elsewhere, nothing inline, in no frame: what is a name of a job cannot become a script.
DASHBOARD_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'"
)
REFERENCE_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class PageRoutes:
    """
    ``/``, ``/dashboard``, ``/docs``, ``/openapi.json``, ``/metrics``.

    :param operates: returns whether a principal may see what is for operators.
    :param tells_version: returns whether it is told the version.
    :ivar files: the site's own files, if it has any.
    """

    def __init__(
        self,
        metrics: Metrics,
        static_files: Static | None,
        operates: Callable[[Principal], bool],
        tells_version: Callable[[Principal], bool],
    ) -> None:
        self._metrics = metrics
        self._tells_version = tells_version
        self._operates = operates
        self.files = static_files

    def root(self, request: ClientRequest) -> object:
        """The site's own page, if there are files of its own; else the dashboard."""
        return self.files.answer(request, "/") if self.files is not None else self.dashboard(request)

    def dashboard(self, request: ClientRequest) -> bytes:
        """The dashboard, also where the site has a page of its own."""
        return self._file(request, "index.html")

    def dashboard_file(self, request: ClientRequest, name: str) -> bytes:
        """One of its files."""
        return self._file(request, name)

    def _file(self, request: ClientRequest, name: str) -> bytes:
        found = _dashboard().get(name)
        if found is None:
            raise NotFound()
        kind, body, tag = found
        _allow(request, DASHBOARD_POLICY)
        request.setHeader(b"content-type", kind)
        if request.setETag(tag) is CACHED:
            return b""
        request.setHeader(b"content-length", str(len(body)).encode())
        return body

    def openapi(self, request: ClientRequest) -> bytes:
        """The interface, for programs."""
        return self._text(request, b"application/json", _described())

    def docs(self, request: ClientRequest) -> bytes:
        """The interface, for people."""
        _allow(request, REFERENCE_POLICY)
        return self._text(request, b"text/html; charset=utf-8", _reference())

    def metrics_text(self, request: ClientRequest) -> bytes:
        """For Prometheus."""
        if not self._operates(request.principal):
            raise Problem(403, "metrics are for operators, and for their tokens with the scope metrics")
        kind, body = self._metrics.text(self._tells_version(request.principal))
        return self._text(request, kind, body)

    @staticmethod
    def _text(request: ClientRequest, kind: bytes, body: bytes) -> bytes:
        request.setHeader(b"content-type", kind)
        request.setHeader(b"cache-control", b"no-cache")
        request.setHeader(b"content-length", str(len(body)).encode())
        return body


def _allow(request: ClientRequest, policy: bytes) -> None:
    """Let a browser do what a page needs."""
    request.setHeader(b"content-security-policy", policy)
    request.setHeader(b"cache-control", b"no-cache")


@lru_cache(1)
def _dashboard() -> Mapping[str, tuple[bytes, bytes, bytes]]:
    """Its few small files: type, content, tag."""
    found: dict[str, tuple[bytes, bytes, bytes]] = {}
    for path in DASHBOARD.iterdir():
        if path.suffix in TYPES:
            body = path.read_bytes()
            tag = b'"%b"' % hashlib.sha256(body).hexdigest()[:16].encode()
            found[path.name] = TYPES[path.suffix], body, tag
    return found


@lru_cache(1)
def _described() -> bytes:
    return wire.dumps(document())


@lru_cache(1)
def _reference() -> bytes:
    return page(document())
