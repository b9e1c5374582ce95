"""``jobpush journal``: what is left of a damaged journal. Tests: tests/events/test_journal_check.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module

from jobpush_client.values import ClientError


def run(options: argparse.Namespace) -> int:
    """Check a journal, or salvage what can be read of it."""
    try:
        main: Callable[[str, str], int] = import_module("jobpush.events.journal_check").main
    except ModuleNotFoundError as error:
        raise ClientError(f"the service, whose journal it is, is not installed here: {error}") from None
    return main(options.action, options.directory)
