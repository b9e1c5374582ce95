"""The command: exit codes, words and lines; what it does to a server is in ``with_service``."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from jobpush_client.cli import main
from tests.service_process import twistd_environment


class CommandLineTests(SynchronousTestCase):
    """What is wrong is said, and by the exit status."""

    def run_it(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_python("-m", "jobpush_client.cli", *arguments)

    def test_usage(self) -> None:
        """Status 2, naming what was expected."""
        for arguments, text in (
            (["wait"], "ID"), (["wait", "1", "--timeout", "-3"], "--timeout"), (["wait", "1", "--any", "--all"], "not allowed"),
            (["status", "1", "--format", "x"], "snakemake"), (["frobnicate"], "frobnicate"),
        ):  # fmt: skip
            with self.assertRaises(SystemExit) as caught, _Quiet() as said:
                main(arguments)
            self.assertEqual(caught.exception.code, 2)
            self.assertIn(text, said.text())

    def test_unreachable(self) -> None:
        """Status 241 when the server cannot be reached for as long as --patience says; 2 where the address is none."""
        gone = self.run_it("wait", "1", "--url", "http://127.0.0.1:1", "--patience", "0.2")
        self.assertEqual(gone.returncode, 241)
        self.assertIn("cannot be reached", gone.stderr)
        wrong = self.run_it("wait", "1", "--url", "localhost:80")
        self.assertEqual((wrong.returncode, "expected http://HOST:PORT" in wrong.stderr), (2, True))

    def test_nothing_heavy_is_loaded(self) -> None:
        """The plain commands start without Twisted and without what draws tables."""
        script = "import sys; from jobpush_client.cli import wait, show, status, submit, tail; print(*sys.modules)"
        modules = run_python("-c", script).stdout.split()
        self.assertIn("jobpush_client.cli.wait", modules)
        self.assertFalse({"twisted", "treq", "rich", "klein", "shtab", "zope"} & set(modules))

    def test_completion(self) -> None:
        """A script for each shell that knows the subcommands."""
        for shell in ("bash", "zsh", "tcsh"):
            done = self.run_it("completion", shell)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("snakemake", done.stdout)


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with this checkout."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=twistd_environment({}), timeout=60
    )


class _Quiet:
    """What argparse says, kept."""

    def __enter__(self) -> _Quiet:
        import io

        self._before, self._said = sys.stderr, io.StringIO()
        sys.stderr = self._said
        return self

    def text(self) -> str:
        return self._said.getvalue()

    def __exit__(self, *_: object) -> None:
        sys.stderr = self._before
