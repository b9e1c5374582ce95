"""Which schedulers are on a host, and how their commands are reached."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.adapter.interfaces import BadQueueOption, QueueError
from jobpush.adapter.registry import detect_queues, make_queue_from_table
from jobpush_adapters.common.commands import Commands
from jobpush_adapters.common.detect import detect_grid_engine, detect_pbs, detect_slurm


class DetectTests(SynchronousTestCase):
    """Three schedulers have a ``qstat``: they are told apart by what stands beside it."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).resolve()
        self.path: list[str] = []
        self.patch(os, "environ", {**os.environ, "PATH": ""})
        os.environ.pop("SGE_ROOT", None)

    def put(self, directory: str, **programs: str) -> str:
        """A directory of programs, on PATH."""
        where = self.root / directory
        where.mkdir(parents=True)
        for name, text in programs.items():
            (where / name).write_text(text)
            (where / name).chmod(0o755)
        self.path.append(str(where))
        os.environ["PATH"] = os.pathsep.join(self.path)
        return str(where)

    def test_nothing(self) -> None:
        """No ``qstat``, no ``squeue``."""
        self.put("bin", ls="")
        self.assertEqual((detect_slurm(), detect_grid_engine(), detect_pbs()), (None, None, None))

    def test_grid_engine(self) -> None:
        """``qconf`` is Grid Engine's alone; it has a ``qselect`` as PBS has."""
        where = self.put("sge", qstat="", qconf="", qselect="")
        self.assertEqual((detect_grid_engine(), detect_pbs()), (f"{where}/qstat, with qconf beside it", None))

    def test_pbs(self) -> None:
        """``pbsnodes``, ``qmgr``: PBS and Torque."""
        where = self.put("pbs", qstat="", pbsnodes="", qselect="")
        self.assertEqual((detect_grid_engine(), detect_pbs()), (None, f"{where}/qstat, with pbsnodes beside it"))

    def test_both(self) -> None:
        """On one host, in two directories."""
        self.put("sge", qstat="", qconf="")
        self.put("pbs", qstat="", qmgr="")
        queues = {queue.queue_type: evidence for queue, evidence in detect_queues(reactor, {})}
        self.assertEqual(set(queues), {"sge", "pbs"})
        self.assertIn("qmgr", queues["pbs"])

    def test_slurms_wrappers(self) -> None:
        """Slurm's scripts for people who know Torque's commands are no PBS."""
        self.put("slurm", squeue="", qstat="#!/usr/bin/perl\n# qstat - queries slurm jobs in familiar pbs format.\n", pbsnodes="")
        self.assertIsNone(detect_pbs())
        self.assertTrue(detect_slurm())

    def test_root(self) -> None:
        """SGE_ROOT, where its programs are not on PATH."""
        where = self.put("ge/bin/lx-amd64", qstat="", qconf="")
        os.environ["PATH"] = "/nonexistent"
        os.environ["SGE_ROOT"] = str(self.root / "ge")
        self.assertEqual(detect_grid_engine(), f"SGE_ROOT={self.root}/ge, with {where}/qstat")


class OptionTests(SynchronousTestCase):
    """What each type takes."""

    def test_what_names_an_instance(self) -> None:
        """Each adapter takes what names its instance, from text and from a table."""
        for kind, options in [
            ("slurm", {"cluster": "alpha", "conf": "/etc/slurm/a.conf", "clusters": "a", "bin": "/opt/slurm/bin"}),
            ("pbs", {"cluster": "gamma", "server": "pbs1.example.org", "home": "/var/spool/pbs", "bin": "/opt/pbs/bin"}),
            ("sge", {"cluster": "beta", "root": "/opt/sge", "cell": "default", "qmaster_port": "6444", "bin": "/opt/sge/bin"}),
            ("sge", {"qmaster_port": 6444, "prefix": ["ssh", "-o", "BatchMode=yes", "login1"]}),
            ("pbs", {"prefix": "ssh -o BatchMode=yes login1"}),
        ]:  # fmt: skip
            queue = make_queue_from_table(reactor, kind, options)
            self.assertEqual((queue.queue_type, queue.cluster), (kind, options.get("cluster", kind)))

    def test_bad_values(self) -> None:
        """Named, with what was expected."""
        for kind, options, told in [
            ("pbs", {"server": "-x"}, "server"), ("pbs", {"server": "a b"}, "server"), ("slurm", {"clusters": "a,b"}, "clusters"),
            ("sge", {"qmaster_port": "70000"}, "qmaster_port"), ("sge", {"cell": "../x"}, "cell"), ("sge", {"prefix": "ssh 'x"}, "prefix"),
            ("sge", {"prefix": []}, "prefix"), ("sge", {"prefix": ["ssh", 3]}, "prefix"), ("mock", {"prefix": "ssh x"}, "unknown option 'prefix'"),
        ]:  # fmt: skip
            with self.assertRaises(BadQueueOption) as caught:
                make_queue_from_table(reactor, kind, options)  # type: ignore[arg-type]
            self.assertIn(told, str(caught.exception))


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
