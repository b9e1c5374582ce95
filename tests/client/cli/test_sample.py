"""``jobpush sample``: the files that come with an installation."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import unittest.mock
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from jobpush_client.cli import main
from jobpush_client.cli.sample import SAMPLES
from tests.service_process import ROOT

ETC = ROOT / "etc"


class SampleTests(SynchronousTestCase):
    """The subcommand, with the data package of this environment."""

    def setUp(self) -> None:
        self.directory = Path(os.path.abspath(self.mktemp()))

    def sample(self, kind: str, *options: str) -> tuple[int, list[str], str]:
        """Return the exit status, the lines on standard output, and standard error."""
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = main(["sample", kind, str(self.directory), *options])
        return status, out.getvalue().splitlines(), err.getvalue()

    def test_contents(self) -> None:
        """Each kind is what ``etc`` has, whole, and the path of each file is printed."""
        for kind, source in SAMPLES.items():
            self.directory = Path(os.path.abspath(self.mktemp()))
            status, lines, _ = self.sample(kind)
            self.assertEqual(status, 0)
            found = ETC / source
            sources = [found] if found.is_file() else [path for path in found.iterdir() if path.is_file()]
            expected = {str(self.directory / path.name): path.read_bytes() for path in sources}
            self.assertEqual(lines, sorted(expected))
            self.assertEqual({str(path): path.read_bytes() for path in self.directory.iterdir()}, expected)

    def test_modes(self) -> None:
        """Scripts can be run; the umask counts."""
        before = os.umask(0o027)
        try:
            self.sample("hooks")
        finally:
            os.umask(before)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.directory.iterdir()}
        for path in (ETC / "hooks").iterdir():
            self.assertEqual(modes[path.name], 0o750 if os.access(path, os.X_OK) else 0o640, path)

    def test_what_is_there_stays(self) -> None:
        """Where one of the files is there, none is written, and the error names it; --force writes all of them."""
        self.directory.mkdir()
        own = self.directory / "jobpush-nudge"
        own.write_text("mine")
        status, lines, complaint = self.sample("hooks")
        self.assertEqual((status, lines), (2, []))
        self.assertIn(str(own), complaint)
        self.assertIn("--force", complaint)
        self.assertEqual(list(self.directory.iterdir()), [own])
        self.assertEqual(own.read_text(), "mine")
        self.assertEqual(self.sample("hooks", "--force")[0], 0)
        self.assertEqual(own.read_bytes(), (ETC / "hooks" / "jobpush-nudge").read_bytes())

    def test_a_dangling_link_stays(self) -> None:
        """A symbolic link counts as a file that is there, whatever it leads to."""
        self.directory.mkdir()
        link = self.directory / "jobpush.toml"
        link.symlink_to("elsewhere")
        self.assertEqual(self.sample("toml")[0], 2)
        self.assertEqual(os.readlink(link), "elsewhere")

    def test_a_directory_that_cannot_be_made(self) -> None:
        """One line says which, and why."""
        self.directory.write_text("a file")
        status, lines, complaint = self.sample("unit")
        self.assertEqual((status, lines), (2, []))
        self.assertEqual(complaint, f"jobpush: {self.directory}: File exists\n")

    def test_not_installed(self) -> None:
        """A client without the service says where the samples are."""
        with unittest.mock.patch.dict(sys.modules, {"jobpush_samples": None}):
            status, lines, complaint = self.sample("toml")
        self.assertEqual((status, lines), (2, []))
        self.assertIn("pip install jobpush", complaint)
        self.assertFalse(self.directory.exists())
