"""How commands are reached, on this host and on another."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import QueueError
from jobpush_adapters.common import commands
from jobpush_adapters.common.commands import Commands, first_failure


class WordsTests(SynchronousTestCase):
    """What is run, with which environment and deadline."""

    def setUp(self) -> None:
        self.ran: list[Any] = []
        self.answers: list[Any] = []

        def run(*arguments: Any) -> Deferred[CommandResult]:
            self.ran.append(arguments)
            return succeed(self.answers.pop(0) if self.answers else CommandResult(0, b"kim\n", b""))

        self.patch(commands, "run_command", run)
        self.patch(commands, "find_executable", lambda name, directory=None: f"{directory or '/bin'}/{name}")

    def test_here(self) -> None:
        """A command gets nothing of this process's environment."""
        made = Commands("reactor", 5.0, {"A": "b", "TZ": "x"}, "/opt")
        self.successResultOf(made.run("squeue", "-h"))
        self.assertEqual(self.ran, [("reactor", ["/opt/squeue", "-h"], {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "x", "A": "b"}, 5.0)])
        self.assertFalse(made.remote)
        self.successResultOf(Commands("reactor", 5.0).run("squeue"))
        self.assertEqual(self.ran[1][1:3], (["/bin/squeue"], {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}))

    def test_far_away(self) -> None:
        """The prefix command gets the variables that it may need, and two seconds more than the command."""
        kept = {name: f"/{name}" for name in ("PATH", "HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "KRB5CCNAME")}
        self.patch(os, "environ", {**kept, "LD_PRELOAD": "x", "SGE_ROOT": "x"})
        made = Commands("reactor", 5.5, {"A": "b c"}, "/opt", ("ssh", "-x", "host"))
        self.assertTrue(made.remote)
        self.successResultOf(made.run("squeue", "-o", "%i"))
        far = ["env", "-i", 'PATH="$PATH"', 'HOME="$HOME"', "LC_ALL=C.UTF-8", "TZ=UTC", "'A=b c'", "timeout", "-k", "1", "5.5", "/opt/squeue", "-o", "%i"]
        self.assertEqual(self.ran, [("reactor", ["/bin/ssh", "-x", "host", *far], kept, 7.5)])
        self.patch(os, "environ", {"HOME": "/h"})
        self.successResultOf(Commands("reactor", 5.0, prefix=("ssh",)).run("squeue"))
        self.assertEqual((self.ran[1][1][-1], self.ran[1][2]), ("squeue", {"HOME": "/h"}))

    def test_account(self) -> None:
        """The account is this process's own, or that of the other host by ``id``, which is not in the scheduler's directory."""
        self.patch(commands.pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name=f"user {uid}"))
        self.assertEqual(self.name(Commands("reactor", 5.0)), f"user {os.geteuid()}")
        self.assertEqual(self.ran, [])
        far = Commands("reactor", 5.0, directory="/opt", prefix=("ssh",))
        self.assertEqual(self.name(far), "kim")
        self.assertEqual(self.ran[0][1][-2:], ["id", "-un"])
        self.answers = [CommandResult(0, b" \xff \n", b"")]
        self.assertEqual(self.name(far), "\ufffd")
        self.answers = [CommandResult(255, b"", b"no route\nmore\n")]
        failure = self.failureResultOf(Deferred.fromCoroutine(far.account()), QueueError)
        self.assertEqual(str(failure.value), "id ended with status 255: no route")

    def name(self, made: Commands) -> str:
        name: str = self.successResultOf(Deferred.fromCoroutine(made.account()))
        return name

    def test_first_failure(self) -> None:
        """The failure is that of the command that failed first."""
        one: Deferred[None] = Deferred()
        both = gatherResults([one, Deferred()], consumeErrors=True).addErrback(first_failure)
        one.errback(QueueError("no"))
        self.assertEqual(str(self.failureResultOf(both, QueueError).value), "no")


class RemoteTests(TestCase):
    """The words for the other host's shell."""

    @given(st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=20), max_size=5))
    def test_every_argument_arrives(self, arguments: list[str]) -> None:
        """The shell makes of each argument what it was."""
        words = Commands(None, 5.0).far("printf", ["%s\\0", *arguments], {})
        printed = subprocess.run(["sh", "-c", " ".join(words)], capture_output=True, check=True).stdout
        self.assertEqual(printed.decode().split("\0")[:-1], arguments or [""])

    def test_environment(self) -> None:
        """Of the other host's environment PATH and HOME are kept; TZ is set, and there is a deadline."""
        far = Commands(None, 5.0, {"SGE_ROOT": "/opt/a b"}, "/opt/x").far("qstat", ["-u", "*"], {"TZ": "UTC", "SGE_ROOT": "/opt/a b"})
        self.assertEqual(
            " ".join(far),
            'env -i PATH="$PATH" HOME="$HOME" TZ=UTC ' + shlex.quote("SGE_ROOT=/opt/a b") + " timeout -k 1 5 /opt/x/qstat -u '*'",
        )

    async def test_statuses(self) -> None:
        """The command's own status is returned; 124 is its deadline, and 255 the status of ssh."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        ssh = directory / "ssh"
        for status in (0, 3, 255):
            ssh.write_text(f"#!/bin/sh\necho ran\nexit {status}\n")
            ssh.chmod(0o755)
            result = await Commands(reactor, 5.0, prefix=(str(ssh), "host")).run("squeue")
            self.assertEqual((result.status, result.stdout), (status, b"ran\n"))
        ssh.write_text("#!/bin/sh\nexit 124\n")
        error = await self.assertFailure(Commands(reactor, 5.0, prefix=(str(ssh),)).run("squeue"), QueueError)
        self.assertIn("squeue did not answer within 5 s on the other host", str(error))
