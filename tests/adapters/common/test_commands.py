"""How commands are reached on another host."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from jobpush.adapter.interfaces import QueueError
from jobpush_adapters.common.commands import Commands


class RemoteTests(TestCase):
    """The words that the far side's shell gets."""

    @given(st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=20), max_size=5))
    def test_every_argument_arrives(self, arguments: list[str]) -> None:
        """Whatever it is: a shell makes of it what it was."""
        words = Commands(None, 5.0).far("printf", ["%s\\0", *arguments], {})
        printed = subprocess.run(["sh", "-c", " ".join(words)], capture_output=True, check=True).stdout
        self.assertEqual(printed.decode().split("\0")[:-1], arguments or [""])

    def test_environment(self) -> None:
        """Nothing of the far side's but PATH and HOME; TZ, and a deadline there."""
        far = Commands(None, 5.0, {"SGE_ROOT": "/opt/a b"}, "/opt/x").far("qstat", ["-u", "*"], {"TZ": "UTC", "SGE_ROOT": "/opt/a b"})
        self.assertEqual(
            " ".join(far),
            'env -i PATH="$PATH" HOME="$HOME" TZ=UTC ' + shlex.quote("SGE_ROOT=/opt/a b") + " timeout -k 1 5 /opt/x/qstat -u '*'",
        )

    async def test_statuses(self) -> None:
        """Its own status comes back; 124 is its deadline; 255 the connection's."""
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
