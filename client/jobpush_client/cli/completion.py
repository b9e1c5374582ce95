"""
``jobpush completion``: a script for the shell (shtab, of the extra ``[cli]``).

Tested as a command in tests/client/cli/test_cli.py.
"""

from __future__ import annotations

import argparse

from jobpush_client import ClientError


def run(options: argparse.Namespace) -> int:
    """Print it."""
    from jobpush_client.cli import parser

    try:
        import shtab
    except ImportError:
        raise ClientError("completion needs the extra: pip install 'jobpush[cli]'") from None
    print(shtab.complete(parser(), options.shell))
    return 0
