"""Each benchmark that the documents name starts, and says what it does: nobody runs them all before a change lands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.service_process import ROOT

#: The benchmarks that have a command line.
COMMANDS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in sorted((ROOT / "benchmarks").rglob("*.py"))
    if "ArgumentParser(" in path.read_text()
]


class CommandTests(SynchronousTestCase):
    """Each benchmark with ``--help``. A test case of trial: a function would have pytest-twisted start the reactor."""

    def test_it_starts(self) -> None:
        """Its imports are still there."""
        for module in COMMANDS:
            result = subprocess.run(
                [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
            )
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("usage", result.stdout)

    def test_there_are_some(self) -> None:
        """The list above finds them."""
        self.assertIn("benchmarks.held", COMMANDS)
        self.assertTrue(Path(ROOT / "benchmarks").is_dir())
