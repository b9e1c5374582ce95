"""A site's own files beside the API: errors in the protocol's form, no listings of directories."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource
from twisted.web.static import File

from jobpush.web.problems import nothing_at
from jobpush.web.requests import ClientRequest


class Static(File):
    """A directory or a file."""

    def __init__(self, path: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(path, *args, **kwargs)
        self.childNotFound: Any = _Missing()

    def getChild(self, path: bytes, request: ClientRequest) -> Any:
        try:
            return super().getChild(path, request)
        except (OSError, ValueError):  # a name that no file can have
            return self.childNotFound

    def directoryListing(self) -> Any:
        return self.childNotFound


class _Missing(Resource):
    isLeaf = True

    def render(self, request: ClientRequest) -> bytes:
        return nothing_at(request).response().apply(request)
