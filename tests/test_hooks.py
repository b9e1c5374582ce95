"""The hook scripts, as a scheduler runs them: they cost next to nothing, and whatever becomes of jobpush they do no harm."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from jobpush.polling.nudges import BadNudge, unsigned
from tests.hooks import HOOKS, install_hooks

#: A hook that took so long would be felt. They take some hundredths of a second; the limit is for a loaded host.
LONGEST_S = 5.0

#: What each scheduler sets for its hooks, and the nudge that comes of it.
CALLS = [
    ("slurm-jobcomp", {"JOBID": "4711", "JOBSTATE": "COMPLETED"}, b'{"cluster":"slurm","jobs":["4711"]}'),
    ("slurm-slurmctld", {"SLURM_JOB_ID": "4711"}, b'{"cluster":"slurm","jobs":["4711"]}'),
    ("sge-prolog-epilog", {"JOB_ID": "12", "SGE_TASK_ID": "undefined"}, b'{"cluster":"sge","jobs":["12"]}'),
    ("sge-prolog-epilog", {"JOB_ID": "12", "SGE_TASK_ID": "3"}, b'{"cluster":"sge","jobs":["12.3"]}'),
]


class HookCase(SynchronousTestCase):
    """The scripts, installed, and the socket that they send to."""

    def setUp(self) -> None:
        if shutil.which("perl") is None:
            self.skipTest("perl is not installed")
        self.directory = Path(tempfile.mkdtemp(prefix="jph"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "nudge"
        install_hooks(self.directory / "hooks", self.path)
        self.took = 0.0

    def listen(self) -> socket.socket:
        """jobpush's socket."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listening.close)
        listening.bind(str(self.path))
        listening.settimeout(10)
        return listening

    def call(self, name: str, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """As a scheduler does: with next to no environment."""
        began = time.monotonic()
        path = self.directory / "hooks" / name
        result = subprocess.run(
            [path, *arguments], env=environment, capture_output=True, timeout=30, check=False, stdin=subprocess.DEVNULL
        )
        self.took = time.monotonic() - began
        return result

    def harmless(self) -> None:
        """Every script says nothing, succeeds, and is over soon."""
        for name, environment, _ in CALLS:
            result = self.call(name, environment)
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, b"", b""), name)
            self.assertLess(self.took, LONGEST_S, name)


class HookTests(HookCase):
    """Each script in each situation."""

    def test_nudges(self) -> None:
        """The job is named."""
        listening = self.listen()
        for name, environment, nudge in CALLS:
            self.call(name, environment)
            self.assertEqual(listening.recv(1000), nudge)

    def test_jobpush_is_not_there(self) -> None:
        """No socket; one that nobody listens on any more; a directory that is closed or missing."""
        self.harmless()
        self.listen().close()
        self.assertTrue(self.path.exists())
        self.harmless()
        self.path.unlink()
        self.path.mkdir(mode=0o000)
        self.harmless()
        self.path.rmdir()

    def test_jobpush_hangs(self) -> None:
        """Its socket takes nothing any more."""
        listening = self.listen()
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(sender.close)
        sender.setblocking(False)
        sent = 0
        try:
            while True:
                sender.sendto(b"{}", str(self.path))
                sent += 1
        except BlockingIOError:
            self.assertGreater(sent, 0)
        self.harmless()
        listening.setblocking(False)
        self.assertEqual({listening.recv(10) for _ in range(sent)}, {b"{}"})

    def test_the_sender_is_missing(self) -> None:
        """Removed, or not installed."""
        (self.directory / "hooks" / "jobpush-nudge").unlink()
        self.harmless()

    def test_what_stood_there_before(self) -> None:
        """Is run after it, with the arguments and the environment that it always had; its status counts."""
        mine = self.directory / "before"
        mine.write_text(f'#!/bin/sh\necho "$JOB_ID$JOBID $*" >{self.directory}/seen\nexit 3\n')
        mine.chmod(0o755)
        for name in ("slurm-jobcomp", "slurm-slurmctld", "sge-prolog-epilog"):
            path = self.directory / "hooks" / name
            path.write_text(path.read_text().replace(" next=", f" next={mine}"))
            result = self.call(name, {"JOB_ID": "12", "JOBID": "", "SLURM_JOB_ID": "12"}, "a b", "c")
            self.assertEqual((result.returncode, (self.directory / "seen").read_text()), (3, "12 a b c\n"), name)

    def test_odd_ids(self) -> None:
        """What is no id is left out; it can neither break the JSON nor reach a shell."""
        listening = self.listen()
        self.call("slurm-jobcomp", {"JOBID": '1"],"cluster":"x'})
        self.assertEqual(listening.recv(1000), b'{"cluster":"slurm","jobs":[]}')
        self.call("slurm-jobcomp", {"JOBID": f"$(touch {self.directory}/bad);`touch {self.directory}/bad`"})
        self.assertEqual(listening.recv(1000), b'{"cluster":"slurm","jobs":[]}')
        self.assertFalse((self.directory / "bad").exists())


class UdpTests(HookCase):
    """From another host: signed, with the time."""

    def test_signed(self) -> None:
        """What jobpush accepts; with another secret it does not."""
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(listening.close)
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(10)
        secret = self.directory / "secret"
        secret.write_text("0123456789abcdef0123456789abcdef\n")
        environment = {"JOBPUSH_NUDGE": f"udp:127.0.0.1:{listening.getsockname()[1]}", "JOBPUSH_NUDGE_SECRET": str(secret)}
        result = self.call("jobpush-nudge", environment, "sge", "12.3")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, b"", b""))
        data = listening.recv(1000)
        self.assertEqual(unsigned(b"0123456789abcdef0123456789abcdef", time.time(), data), b'{"cluster":"sge","jobs":["12.3"]}')
        self.assertRaises(BadNudge, unsigned, b"another secret, as long as that", time.time(), data)

    def test_no_secret_and_nobody_there(self) -> None:
        """Nothing is sent, and nothing is said."""
        for environment in (
            {"JOBPUSH_NUDGE": "udp:127.0.0.1:9", "JOBPUSH_NUDGE_SECRET": "/nonexistent"},
            {"JOBPUSH_NUDGE": "udp:localhost:9"}, {"JOBPUSH_NUDGE": "nowhere"}, {"JOBPUSH_NUDGE": "udp:127.0.0.1:99999999"},
        ):  # fmt: skip
            result = self.call("jobpush-nudge", environment, "sge", "12")
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, b"", b""), environment)


class PbsHookTests(HookCase):
    """The hook of PBS's server, in a Python with a stand-in for its ``pbs`` module: there is no OpenPBS here to run it in."""

    def run_hook(self, module: str) -> subprocess.CompletedProcess[bytes]:
        (self.directory / "pbs.py").write_text(module)
        hook = self.directory / "hook.py"
        hook.write_text((HOOKS / "pbs-hook.py").read_text().replace("/var/lib/jobpush/nudge", str(self.path)))
        environment = {**os.environ, "PYTHONPATH": str(self.directory)}
        return subprocess.run([sys.executable, "-B", str(hook)], env=environment, capture_output=True, timeout=30, check=False)

    def test_nudge(self) -> None:
        """The job is named, if the event has one."""
        listening = self.listen()
        for job, nudge in (("job = type('J', (), {'id': '7.pbs'})()", b'{"cluster": "pbs", "jobs": ["7.pbs"]}'), ("job = None", b'{"cluster": "pbs"}')):
            self.assertEqual(self.run_hook(f"class E:\n    {job}\nevent = E").returncode, 0)
            self.assertEqual(listening.recv(1000), nudge)

    def test_no_harm(self) -> None:
        """Without a listener, and without what it expects of PBS: no exception, which would reject a job."""
        for module in ("class E:\n    job = type('J', (), {'id': '7.pbs'})()\nevent = E", "def event():\n    raise RuntimeError", ""):
            result = self.run_hook(module)
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, b"", b""), module)
