"""How an OpenPBS server is asked: through a helper process where that works, else by ``qstat``."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.trial.unittest import TestCase

from jobpush.adapter.command import CommandFailed, CommandResult
from jobpush_adapters.common.commands import Commands
from jobpush_adapters.pbs import ifl, ifl_helper
from jobpush_adapters.pbs.ifl import MOST_JOBS, Questions

#: In the place of the helper: it answers what it was asked, and how many questions it has had; or does what the file says.
HELPER = """\
import pathlib, sys, time
count = 0
for line in sys.stdin:
    count += 1
    wish = pathlib.Path({wish!r}).read_text()
    if wish == "hang":
        time.sleep(60)
    if wish == "end":
        sys.exit("it ended\\nof itself")
    text = f"helper {{count}}: {{line}}".encode() * (20000 if wish == "long" else 1)
    status = 1 if wish == "fail" else 0
    head, half = b"%d %d\\n" % (status, len(text)), len(text) // 2
    for part in (head + text[:half], text[half:]):
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        time.sleep(0.01)
"""


class QuestionsTests(TestCase):
    """`Questions`, with processes of the test's own."""

    def setUp(self) -> None:
        self.root = Path(os.path.abspath(self.mktemp()))
        for name in ("bin", "lib"):
            (self.root / name).mkdir(parents=True)
        self.wish = self.root / "wish"
        self.wish.write_text("")
        helper = self.root / "helper.py"
        helper.write_text(HELPER.format(wish=str(self.wish)))
        self.patch(ifl_helper, "__file__", str(helper))
        (self.root / "lib" / "libpbs.so").touch()
        self.qstat('echo "qstat $*"')
        self.questions = self.make()
        self.questions.use("23.06.06")
        self.addCleanup(lambda: self.questions.stop())

    def make(self, timeout: float = 20.0, **options: object) -> Questions:
        commands = Commands(reactor, timeout, directory=str(self.root / "bin"), **options)  # type: ignore[arg-type]
        return Questions(reactor, commands)  # type: ignore[arg-type]

    def qstat(self, body: str) -> None:
        """The command does this."""
        path = self.root / "bin" / "qstat"
        path.write_text(f"#!/bin/sh\n{textwrap.dedent(body)}\n")
        path.chmod(0o755)

    def ask(self, *jobs: str, history: bool = True) -> Deferred[CommandResult]:
        """The list, or these jobs."""
        return ensureDeferred(self.questions.attributes(jobs, history) if jobs else self.questions.listed())

    async def test_helper(self) -> None:
        """One process for all questions, one after another, however long the answers."""
        self.assertEqual((await self.ask()).stdout, b'helper 1: ["list"]\n')
        self.assertEqual((await self.ask("1.s", "2.s")).stdout, b'helper 2: ["jobs", true, "1.s", "2.s"]\n')
        self.wish.write_text("long")
        both = [self.ask("1.s", history=False), self.ask()]
        self.assertEqual((await both[0]).stdout, b'helper 3: ["jobs", false, "1.s"]\n' * 20000)
        self.assertEqual((await both[1]).stdout, b'helper 4: ["list"]\n' * 20000)

    async def test_many_jobs(self) -> None:
        """They are asked for together, which the library cannot."""
        jobs = [f"{number}.s" for number in range(MOST_JOBS + 1)]
        self.assertEqual((await self.ask(*jobs)).stdout.split()[:7], [b"qstat", b"-x", b"-E", b"-f", b"-F", b"json", b"0.s"])
        self.assertTrue((await self.ask(*jobs[1:])).stdout.startswith(b"helper 1"))

    async def test_without(self) -> None:
        """Where the version was not tested, the commands run elsewhere or there is no library, ``qstat`` is asked."""
        questions = self.questions
        for version, options, library in (("22.05.11", {}, True), ("", {}, True), ("23.06.06", {"prefix": ("env",)}, True), ("23.06.06", {}, False)):
            if not library:
                (self.root / "lib" / "libpbs.so").unlink()
            self.questions = self.make(**options)
            self.questions.use(version)
            self.assertIsNone(self.questions.library, (version, options, library))
        self.assertEqual((await self.ask()).stdout, b"qstat -t -w\n")
        self.assertEqual((await self.ask("1.s", history=False)).stdout, b"qstat -E -f -F json 1.s\n")
        self.questions = questions

    async def test_the_library_fails(self) -> None:
        """Where qstat answers, it is asked from then on; that is said once."""
        for wish in ("fail", "end"):
            self.wish.write_text("")
            self.questions = self.make()
            self.questions.use("23.06.06")
            await self.ask()
            self.wish.write_text(wish)
            self.assertEqual((await self.ask()).stdout, b"qstat -t -w\n")
            self.wish.write_text("")
            self.assertIsNone(self.questions.library)
            self.questions.use("23.06.06")
            self.assertEqual((await self.ask()).stdout, b"qstat -t -w\n", wish)

    async def test_several_questions_when_it_fails(self) -> None:
        """Each is answered by qstat; that is said once."""
        self.wish.write_text("fail")
        asked = [self.ask(), self.ask("1.s"), self.ask()]
        self.assertEqual([(await each).stdout.split()[0] for each in asked], [b"qstat"] * 3)
        self.assertIsNone(self.questions.library)

    async def test_the_server_is_away(self) -> None:
        """Where qstat fails, too, the library is asked again when the server may be back."""
        self.wish.write_text("fail")
        self.qstat("echo 'cannot connect' >&2; exit 2")
        result = await self.ask()
        self.assertEqual((result.status, result.complaint), (2, "cannot connect"))
        self.wish.write_text("")
        self.assertTrue((await self.ask()).stdout.startswith(b"helper 2"))

    async def test_hangs(self) -> None:
        """It is ended when the time is up, and the next question has another one; qstat is not asked: it would hang, too."""
        await self.questions.stop()
        self.questions = self.make(timeout=0.3)
        self.questions.use("23.06.06")
        self.wish.write_text("hang")
        with self.assertRaises(CommandFailed) as caught:
            await self.ask()
        self.assertIn("0.3 s", str(caught.exception))
        self.wish.write_text("")
        self.questions._commands = self.make()._commands
        self.assertTrue((await self.ask()).stdout.startswith(b"helper 1"))

    async def test_cancelled(self) -> None:
        """A question that nobody wants the answer of any more ends its helper."""
        self.wish.write_text("hang")
        asked = self.ask()
        asked.cancel()
        with self.assertRaises(CancelledError):
            await asked
        self.wish.write_text("")
        self.assertTrue((await self.ask()).stdout.startswith(b"helper 1"))

    async def test_stop(self) -> None:
        """Fires when the process has ended; without one at once."""
        await self.make().stop()
        await self.ask()
        helper = self.questions._helper
        assert helper is not None
        await self.questions.stop()
        self.assertTrue(helper.gone.called)

    async def test_cannot_be_started(self) -> None:
        """As a library that fails."""
        self.patch(ifl, "start_process", _refuse)
        self.assertEqual((await self.ask()).stdout, b"qstat -t -w\n")
        self.assertIsNone(self.questions.library)


def _refuse(*arguments: object) -> None:
    raise OSError("no process")
