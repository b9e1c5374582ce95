"""Running commands: deadlines, limits, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from jobpush.adapter.command import CommandFailed, CommandResult, find_executable, printable, run_command


class RunTests(TestCase):
    """`run_command`."""

    def sh(self, script: str, timeout: float = 10.0, limit: int = 1_000_000, **environment: str):  # type: ignore[no-untyped-def]
        return run_command(reactor, ["/bin/sh", "-c", script], environment, timeout, limit)

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Until that is so, or fail."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                self.fail(f"not within {seconds:g} s")
            await deferLater(reactor, 0.01)

    async def test_result(self) -> None:
        """Exit status and both outputs; standard input is empty; the environment is what was given."""
        result = await self.sh("cat; env; echo out; echo err >&2; exit 7", A="1")
        self.assertEqual((result.status, result.stderr, result.complaint), (7, b"err\n", "err"))
        self.assertIn(b"A=1\n", result.stdout)
        self.assertNotIn(b"HOME=", result.stdout)
        self.assertTrue(result.stdout.endswith(b"out\n"))

    async def test_with_threads(self) -> None:
        """A process with threads, as the service is one, starts a command without a warning."""
        done = threading.Event()
        thread = threading.Thread(target=done.wait, args=(60,))
        thread.start()
        try:
            await self.sh("exit 0")
        finally:
            done.set()
            thread.join()
        self.assertEqual(self.flushWarnings(), [])

    async def test_arguments_are_no_shell_words(self) -> None:
        """They arrive as they are."""
        words = ["$(id)", "a b", ";", "*", "--x", "'", "\n"]
        result = await run_command(reactor, ["/usr/bin/printf", "%s|", *words], {}, 10)
        self.assertEqual(result.stdout.decode(), "".join(f"{word}|" for word in words))

    async def test_deadline(self) -> None:
        """A command that hangs is ended by TERM."""
        began = time.monotonic()
        error = await self.assertFailure(self.sh("exec sleep 60", timeout=0.2), CommandFailed)
        self.assertIn("0.2 s", str(error))
        self.assertLess(time.monotonic() - began, 1.0)

    async def test_command_after_one_that_was_ended(self) -> None:
        """What begins in the turn in which another command was ended is not taken for it: its output comes whole."""
        for attempt in range(40):
            try:
                await self.sh("exec sleep 60", timeout=0.01)
            except CommandFailed:
                result = await self.sh("sleep 0.01; echo out")
                self.assertEqual((result.status, result.stdout), (0, b"out\n"), attempt)

    async def test_deaf_command(self) -> None:
        """One that ignores TERM is ended by KILL."""
        pidfile = os.path.abspath(self.mktemp())
        await self.assertFailure(
            self.sh(f"trap '' TERM; echo $$ >{pidfile}; while :; do /bin/sleep 0.05; done", timeout=0.3), CommandFailed
        )
        with open(pidfile) as file:
            pid = int(file.read())
        await self.until(lambda: not os.path.exists(f"/proc/{pid}"), 3.0)

    async def test_a_grandchild_holds_the_pipe(self) -> None:
        """The answer does not wait for whoever else has the pipe open."""
        began = time.monotonic()
        await self.assertFailure(self.sh("sleep 4 & echo begun; exec sleep 60", timeout=0.2), CommandFailed)
        self.assertLess(time.monotonic() - began, 3.0)
        await deferLater(reactor, 0.1)

    async def test_a_grandchild_writes_late(self) -> None:
        """What was begun by the command belongs to its output, as long as it has the pipe open."""
        result = await self.sh("(sleep 0.3; echo late) & echo early; exit 3")
        self.assertEqual((result.status, result.stdout), (3, b"early\nlate\n"))

    async def test_output_is_closed_early(self) -> None:
        """The command goes on, and its exit status counts."""
        result = await self.sh("echo out; exec >&-; sleep 0.2; echo err >&2; exit 3")
        self.assertEqual((result.status, result.stdout, result.stderr), (3, b"out\n", b"err\n"))

    async def test_much_output(self) -> None:
        """All of it, in order."""
        result = await self.sh("seq 1000000", limit=10_000_000)
        self.assertEqual(result.stdout, b"".join(b"%d\n" % number for number in range(1, 1_000_001)))

    async def test_want_of_descriptors(self) -> None:
        """Wherever they run out, the command fails as other commands do, and none is kept open afterwards."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        await self.sh("exit 0")
        before = len(os.listdir("/proc/self/fd"))
        for free in range(8):
            taken: list[int] = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (before + 50, limits[1]))
            try:
                with contextlib.suppress(OSError):
                    while True:
                        taken.append(os.open("/dev/null", os.O_RDONLY))
                for _ in range(free):
                    os.close(taken.pop())
                running = run_command(reactor, ["/bin/true"], {}, 10)
            finally:
                for descriptor in taken:
                    os.close(descriptor)
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            if free < 6:
                error = await self.assertFailure(running, CommandFailed)
                self.assertIn("cannot start /bin/true", str(error))
            else:
                await running
            await self.until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        self.assertEqual((await self.sh("exit 0")).status, 0)

    async def test_limit(self) -> None:
        """Too much output ends it."""
        error = await self.assertFailure(self.sh("exec cat /dev/zero", limit=1_000_000), CommandFailed)
        self.assertIn("1000000 bytes", str(error))

    async def test_much_on_standard_error(self) -> None:
        """It is cut, and ends nothing."""
        result = await self.sh("head -c 1000000 /dev/zero >&2")
        self.assertEqual((result.status, len(result.stderr)), (0, 65536))

    async def test_signal(self) -> None:
        """Ended by a signal that we did not send: no result."""
        error = await self.assertFailure(self.sh("kill -9 $$"), CommandFailed)
        self.assertIn("signal 9", str(error))

    async def test_not_there(self) -> None:
        """A command that cannot be run."""
        result = run_command(reactor, ["/nonexistent/squeue"], {}, 10)
        try:
            answer = await result
            self.assertNotEqual(answer.status, 0)
        except CommandFailed as error:
            self.assertIn("squeue", str(error))
        self.assertRaises(CommandFailed, find_executable, "no-such-command-as-this")
        self.assertEqual(find_executable("sh", "/bin"), "/bin/sh")

    async def test_cancelled(self) -> None:
        """Cancelling ends the command."""
        pidfile = os.path.abspath(self.mktemp())
        running = self.sh(f"echo $$ >{pidfile}; exec sleep 60")
        await self.until(lambda: os.path.exists(pidfile) and os.path.getsize(pidfile))
        with open(pidfile) as file:
            pid = file.read().strip()
        running.cancel()
        await self.assertFailure(running, CancelledError)
        await self.until(lambda: not os.path.exists(f"/proc/{pid}"))

    async def test_elapsed(self) -> None:
        """How long it took is told."""
        result = await self.sh("sleep 0.2")
        self.assertTrue(0.15 < result.elapsed < 5, result.elapsed)

    def test_complaint(self) -> None:
        """The first line of standard error; what was printed is in no log by accident."""
        for stderr, told in ((b"\n a\nb", "a"), (b"", "no message"), (b" \n ", "no message"), (b"\xff\x1b", "\ufffd\\x1b"), (b"x" * 400, "x" * 300 + "\u2026")):
            self.assertEqual(CommandResult(1, b"", stderr).complaint, told)
        self.assertEqual(repr(CommandResult(3, b"secret", b"secret")), "CommandResult(status=3, elapsed=0.0)")

    def test_where_a_command_is(self) -> None:
        """Along PATH and then in the usual places; only files that may be run, in places that are absolute."""
        directory = Path(self.mktemp()).resolve()
        for name, mode in (("a", 0o755), ("b", 0o755), ("c", 0o644)):
            (directory / name).mkdir(parents=True)
            (directory / name / "jobpush-test").touch()
            (directory / name / "jobpush-test").chmod(mode)
        (directory / "d" / "jobpush-test").mkdir(parents=True)
        (directory / "d" / "sh").symlink_to("/bin/sh")
        places = [str(directory / name) for name in "dcab"]
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory / "b")
        self.patch(os, "environ", {"PATH": os.pathsep.join(["", ".", *places])})
        self.assertEqual(find_executable("jobpush-test"), f"{directory}/a/jobpush-test")
        self.assertEqual(find_executable("sh"), f"{directory}/d/sh")
        self.assertEqual(find_executable("jobpush-test", f"{directory}/b"), f"{directory}/b/jobpush-test")
        self.assertEqual(find_executable(f"{directory}/b/jobpush-test", "/nonexistent"), f"{directory}/b/jobpush-test")
        for where in ("c", "d", "."):
            error = self.assertRaises(CommandFailed, find_executable, "jobpush-test", f"{directory}/{where}" if where != "." else ".")
            self.assertIn("there is no command 'jobpush-test' in", str(error))
        self.patch(os, "environ", {})
        self.assertIn(find_executable("sh"), ("/usr/local/bin/sh", "/usr/bin/sh", "/bin/sh"))
        error = self.assertRaises(CommandFailed, find_executable, "jobpush-test")
        self.assertEqual(str(error), "there is no command 'jobpush-test' in PATH")

    def test_printable(self) -> None:
        """Text from strangers cannot write to a terminal or a log."""
        self.assertEqual(printable("a\x1b[2J\nb\u202ec\ud800"), "a\\x1b[2J\\nb\\u202ec\\ud800")
        self.assertEqual([printable("x" * length, 10) for length in (10, 11, 1000)], ["x" * 10, "x" * 10 + "\u2026", "x" * 10 + "\u2026"])
        self.assertEqual(printable("\x1b" * 10, 10), "\\x1b\\x1b\\x" + "\u2026")
