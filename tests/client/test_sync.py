"""The plain client."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush_client import (
    ClientError,
)
from jobpush_client.sync import Client, connector


class AddressTests(SynchronousTestCase):
    """Where the server is."""

    def test_addresses(self) -> None:
        """What is none is said at once."""
        for url in ("http://localhost:8080", "http://localhost:8080/", "https://[::1]:8443", "unix:/run/jobpush/http.sock"):
            connector(url)
        for url in ("localhost:8080", "ftp://x", "http://", "http://h:port", "http://h/jobpush"):
            with self.assertRaises(ClientError):
                Client(url)
        self.assertEqual(connector("unix:///run/x")(1.0)._path, "/run/x")
