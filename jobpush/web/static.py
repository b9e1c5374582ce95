"""
A site's own files beside the API: those of one directory, and nothing that its links lead out to. Errors are in the protocol's
form, and no directory is listed.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.web.static import File
from werkzeug.exceptions import NotFound

from jobpush.web.requests import ClientRequest
from jobpush.web.responses import Response

#: What a page of the site's own may do: load what is served here, and ask here. Nobody shows it in a frame.
FILES_POLICY = b"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_INDEX = "index.html"


class Static:
    """
    :param path: of the directory.
    """

    def __init__(self, path: str) -> None:
        self._root = os.path.realpath(path)

    def find(self, path: str) -> str | None:
        """
        Return the path of the file at an address; None if there is none. What a directory has at its own address is its
        ``index.html``. No file or directory is served whose name begins with a dot, nor anything but regular files.

        :param path: begins with a slash, and is not quoted any more.
        """
        found = self._inside(path)
        if found is not None and path.endswith("/"):
            found = self._inside(path + _INDEX)
        return found if found is not None and os.path.isfile(found) else None

    def answer(self, request: ClientRequest, path: str) -> object:
        """
        Return what answers a request for an address: a resource, or bytes.

        :raise NotFound: if there is nothing.
        """
        found = self.find(path)
        if found is None:
            if self.find(path + "/") is None:
                raise NotFound()
            name = request.path.rpartition(b"/")[2]
            return Response(301, ((b"location", b"./" + name + b"/"), (b"content-length", b"0")), b"").apply(request)
        request.setHeader(b"content-security-policy", FILES_POLICY)
        return _Found(found)

    def _inside(self, path: str) -> str | None:
        """Return what there is at an address once links are followed, if that is in the directory, and hidden nowhere."""
        names = path.strip("/").split("/") if path.strip("/") else []
        if any(not name or name.startswith(".") or "\0" in name for name in names):
            return None
        try:
            real = os.path.realpath(os.path.join(self._root, *names), strict=True)
        except (OSError, ValueError):
            return None
        beyond = os.path.relpath(real, self._root)
        if beyond != "." and any(name.startswith(".") for name in beyond.split(os.sep)):
            return None  # what is outside begins with two dots
        return real


class _Found(File):
    """A file that may be served."""

    isLeaf = True

    def __init__(self, path: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(path, "application/octet-stream")
