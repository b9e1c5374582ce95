"""``jobpush wait``: until jobs have ended; the exit status is theirs."""

from __future__ import annotations

import argparse
import json
import sys

from jobpush_client import Client, ClientError, Met
from jobpush_client.cli.codes import client, exit_code, summary, worst


def run(options: argparse.Namespace) -> int:
    """Wait, and say what became of them."""
    ids = list(dict.fromkeys(_ids(options.ids)))
    need = {"all": len(ids), "any": 1}.get(options.mode, options.mode)
    if need > len(ids):
        raise ClientError(f"-n {need}: only {len(ids)} jobs are named")
    with client(options.url, options.patience) as server:
        return wait(server, ids, need, options)


def wait(server: Client, ids: list[str], need: int, options: argparse.Namespace) -> int:
    """Until so many of these have ended; the exit status."""
    codes = []
    for met in server.as_completed(ids, options.until, options.timeout):
        tell(met, options)
        codes.append(exit_code(met))
        if len(codes) == need:
            break
    return worst(codes)


def tell(met: Met, options: argparse.Namespace) -> None:
    """One job that has ended."""
    if options.json:
        print(json.dumps(dict(met.fields)), flush=True)
    elif not options.quiet:
        print(summary(met), flush=True)


def _ids(words: list[str]) -> list[str]:
    """Those of the command line, and of standard input where one is ``-``."""
    found: list[str] = []
    for word in words:
        found.extend(sys.stdin.read().split() if word == "-" else [word])
    if not found:
        raise ClientError("standard input names no jobs")
    return found
