"""Which schedulers are on a host."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.registry import detect_queues
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
