"""Until jobs have ended, with their exit status."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush_client import Met
from jobpush_client.cli import main, wait


class Server:
    """
    In the place of a client.

    :ivar asked: with what.
    """

    def __init__(self) -> None:
        self.asked: tuple[Any, ...] = ()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def as_completed(self, ids: Sequence[str], until: str, timeout: float | None) -> Iterator[Met]:
        self.asked = (ids, until, timeout)
        for number, job_id in enumerate(ids):
            yield Met({"job": f"slurm/{job_id}", "state": "FAILED" if number else "COMPLETED", "exit_code": number})


class WaitTests(SynchronousTestCase):
    """``jobpush wait``."""

    def run_it(self, *arguments: str, stdin: str = "") -> tuple[int, list[str], list[str]]:
        """The status, and the lines that were said on either stream."""
        self.server = Server()
        out, err = io.StringIO(), io.StringIO()
        for name, stream in (("stdin", io.StringIO(stdin)), ("stdout", out), ("stderr", err)):
            self.patch(sys, name, stream)
        self.patch(wait, "client", lambda url, patience: self.server)
        return main(["wait", *arguments]), out.getvalue().splitlines(), err.getvalue().splitlines()

    def test_until_enough_have_ended(self) -> None:
        """All, any, or so many; the status is the worst of theirs."""
        lines = ["slurm/1 COMPLETED exit 0", "slurm/2 FAILED exit 1", "slurm/3 FAILED exit 2"]
        for arguments, status, count in (((), 2, 3), (("--all",), 2, 3), (("--any",), 0, 1), (("-n", "2"), 1, 2), (("-n", "3"), 2, 3)):
            self.assertEqual(self.run_it("1", "2", "1", "3", *arguments), (status, lines[:count], []))
        self.assertEqual(self.server.asked, (["1", "2", "3"], "terminal", None))

    def test_too_many_wanted(self) -> None:
        """More than there are."""
        self.assertEqual(self.run_it("1", "1", "-n", "2"), (2, [], ["jobpush: -n 2: only 1 jobs are named"]))

    def test_standard_input(self) -> None:
        """In the place of ``-``; it must name some."""
        self.run_it("1", "-", "4", stdin="2\n 3\n")
        self.assertEqual(self.server.asked[0], ["1", "2", "3", "4"])
        self.assertEqual(self.run_it("-"), (2, [], ["jobpush: standard input names no jobs"]))

    def test_forms(self) -> None:
        """JSON, or nothing."""
        _, lines, _ = self.run_it("7", "--json")
        self.assertEqual([json.loads(line) for line in lines], [{"job": "slurm/7", "state": "COMPLETED", "exit_code": 0}])
        self.assertEqual(self.run_it("7", "--quiet"), (0, [], []))
