"""``jobpush token``: which tokens one has, and to revoke them. (Tests: tests/with_service/test_identity.py.)"""

from __future__ import annotations

import argparse

from jobpush_client.cli.codes import client, printable
from jobpush_client.values import ClientError


def run(options: argparse.Namespace) -> int:
    """List them, or revoke some."""
    if options.action == "revoke" and not options.ids:
        raise ClientError("which token is to be revoked? Say its id (jobpush token list), or all")
    if options.action == "list" and options.ids:
        raise ClientError(f"list takes no ids, such as {options.ids[0]}")
    with client(options.url, options.patience) as server:
        if options.action == "list":
            for token in server.tokens():
                label = printable(str(token["label"])) or "-"
                print(f"{token['id']}  until {token['expires_at']}  {','.join(token['scopes'])}  {label}")
        for token_id in options.ids:
            server.revoke_token(token_id)
    return 0
