"""Which schedulers are on a host."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.registry import detect_queues
from jobpush_adapters.common.detect import detect_grid_engine, detect_pbs, detect_slurm


class DetectTests(SynchronousTestCase):
    """Three schedulers have a ``qstat``: the programs beside it tell which one it is."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).resolve()
        self.path: list[str] = []
        self.patch(os, "environ", {**os.environ, "PATH": ""})
        os.environ.pop("SGE_ROOT", None)
        self.addCleanup(os.chdir, os.getcwd())

    def put(self, directory: str, **programs: str) -> str:
        """Make a directory of programs on PATH; return it."""
        where = self.root / directory
        where.mkdir(parents=True)
        for name, text in programs.items():
            (where / name).write_text(text)
            (where / name).chmod(0o755)
        self.path.append(str(where))
        os.environ["PATH"] = os.pathsep.join(self.path)
        return str(where)

    def test_nothing(self) -> None:
        """Without ``qstat`` and ``squeue`` no scheduler is found."""
        self.put("bin", ls="")
        self.assertEqual((detect_slurm(), detect_grid_engine(), detect_pbs()), (None, None, None))

    def test_grid_engine(self) -> None:
        """``qconf`` is Grid Engine's alone; ``qselect`` is not."""
        where = self.put("sge", qstat="", qconf="", qselect="")
        self.assertEqual((detect_grid_engine(), detect_pbs()), (f"{where}/qstat, with qconf beside it", None))

    def test_pbs(self) -> None:
        """``pbsnodes`` and ``qmgr`` are evidence of PBS or Torque."""
        where = self.put("pbs", qstat="", pbsnodes="", qselect="")
        self.assertEqual((detect_grid_engine(), detect_pbs()), (None, f"{where}/qstat, with pbsnodes beside it"))

    def test_both(self) -> None:
        """Two schedulers in two directories of one host are both found."""
        self.put("sge", qstat="", qconf="")
        self.put("pbs", qstat="", qmgr="")
        queues = {queue.queue_type: evidence for queue, evidence in detect_queues(reactor, {})}
        self.assertEqual(set(queues), {"sge", "pbs"})
        self.assertIn("qmgr", queues["pbs"])

    def test_slurms_wrappers(self) -> None:
        """Slurm's scripts for people who know Torque's commands are no evidence of PBS."""
        self.put("slurm", squeue="", qstat="#!/usr/bin/perl\n# qstat - queries slurm jobs in familiar pbs format.\n", pbsnodes="")
        self.assertIsNone(detect_pbs())
        self.assertTrue(detect_slurm())

    def test_root(self) -> None:
        """Grid Engine is found by SGE_ROOT if its programs are not on PATH."""
        where = self.put("ge/bin/lx-amd64", qstat="", qconf="")
        os.environ["PATH"] = "/nonexistent"
        os.environ["SGE_ROOT"] = str(self.root / "ge")
        self.assertEqual(detect_grid_engine(), f"SGE_ROOT={self.root}/ge, with {where}/qstat")
        self.assertIsNone(detect_slurm())
        lower = self.root / "ge" / "bin" / "a"
        lower.mkdir()
        (lower / "qstat").touch()
        self.assertEqual(detect_grid_engine(), f"SGE_ROOT={self.root}/ge, with {lower}/qstat", "the first of several")
        for root in (f"{self.root}/none", "ge", ""):
            os.environ["SGE_ROOT"] = root
            os.chdir(self.root)
            self.assertIsNone(detect_grid_engine(), root)

    def test_what_may_not_be_run(self) -> None:
        """A file that may not be run is no evidence, nor is one in a relative directory of PATH."""
        where = Path(self.put("pbs", qstat="", qmgr=""))
        self.assertTrue(detect_pbs())
        for name in ("qstat", "qmgr"):
            (where / name).chmod(0o644)
            self.assertIsNone(detect_pbs())
            (where / name).chmod(0o755)
        os.chdir(self.root)
        os.environ["PATH"] = "pbs"
        self.assertIsNone(detect_pbs())
        os.environ["PATH"] = os.pathsep.join(["pbs", "/nonexistent", str(where)])
        self.assertEqual(detect_pbs(), f"{where}/qstat, with qmgr beside it")
        del os.environ["PATH"]
        self.assertIsNone(detect_pbs())

    def test_each_program(self) -> None:
        """Any one of a scheduler's programs is evidence."""
        for name, detect in (*((name, detect_grid_engine) for name in ("qconf", "qacct", "qmod")),
                             *((name, detect_pbs) for name in ("pbsnodes", "qmgr", "qselect", "pbsdsh"))):  # fmt: skip
            self.path.clear()
            where = self.put(name, qstat="", **{name: ""})
            self.assertEqual(detect(), f"{where}/qstat, with {name} beside it")
            self.assertNotEqual((detect_grid_engine() is None), (detect_pbs() is None))

    def test_whose_qstat(self) -> None:
        """Only a script with the word at its beginning is Slurm's; a program with it is not, and an unreadable file may be PBS's."""
        for number, (text, found) in enumerate((("#!/bin/sh\n# SLURM\n", False), ("x slurm", True), ("#!/bin/sh\n", True), ("#!" + " " * 4094 + "slurm", True),
                                               ("#!" + " " * 4089 + "slurm", False))):  # fmt: skip
            self.path.clear()
            self.put(str(number), qstat=text, qmgr="")
            self.assertEqual(detect_pbs() is not None, found, text[:20])
        (self.root / "4" / "qstat").unlink()
        (self.root / "4" / "qstat").mkdir()
        self.assertTrue(detect_pbs())
