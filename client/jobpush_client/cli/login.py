"""
``jobpush login``: a token for a server's port, made on this host's socket, where the kernel says who asks. (Tests:
tests/with_service/test_identity.py.)
"""

from __future__ import annotations

import argparse
import socket

from jobpush_client.cli.codes import client, printable
from jobpush_client.credentials import default_url, store
from jobpush_client.values import ClientError


def run(options: argparse.Namespace) -> int:
    """Make it, and keep it in the user's own file; or print it."""
    url = options.url or default_url()
    if not url.startswith("unix:"):
        raise ClientError(
            f"{url} does not know who you are: log in on a host with jobpush's socket (--url unix:/run/jobpush/jobpush.sock)"
        )
    with client(url, options.patience) as server:
        made = server.make_token(options.scope or (), options.hours, options.label or printable(socket.gethostname()))
    if options.print:
        print(made["token"])
        return 0
    path = store(options.server, made["token"])
    scopes = ", ".join(made["scopes"])
    print(f"{made['user']}: a token for {options.server} until {made['expires_at']} ({scopes}), kept in {path}")
    return 0
