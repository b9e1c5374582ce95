"""A real Slurm for a workflow engine, with and without jobpush beside it, on which the questions to slurmctld are counted."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests import slurm_cluster
from tests.service_process import ROOT, ServiceProcess

#: What asks slurmctld, or slurmdbd, how jobs are.
QUESTIONS = ("scontrol", "squeue", "sacct")


@attrs.frozen
class EngineSite:
    """
    :ivar commands: a directory of Slurm's commands, which note that they were called; it is first in PATH.
    :ivar work: a directory for the engine.
    """

    service: ServiceProcess
    commands: Path
    work: Path

    def environment(self, python_path: Path, *programs: Path) -> dict[str, str]:
        """For the engine: its modules beside jobpush's, its programs behind Slurm's."""
        return {
            **os.environ, "PATH": os.pathsep.join([str(self.commands), *map(str, programs), os.environ["PATH"]]),
            "PYTHONPATH": f"{ROOT}:{python_path}", "HOME": str(self.work), "JOBPUSH_URL": f"http://127.0.0.1:{self.service.port}",
        }  # fmt: skip

    @property
    def calls(self) -> list[str]:
        """The names of Slurm's commands that were called so far, in their order."""
        log = self.commands / "calls.log"
        return log.read_text().split() if log.exists() else []

    @property
    def asked(self) -> int:
        """How often the engine has asked so far."""
        return sum(name in QUESTIONS for name in self.calls)

    @property
    def queries(self) -> int:
        """How often jobpush has asked so far."""
        if self.service.process is None:
            return 0
        return int(self.service.get("/readyz").json["queues"]["slurm"]["queries"])


@contextmanager
def engine_site(with_jobpush: bool) -> Iterator[EngineSite]:
    """From the start of Slurm, and of jobpush where it is wanted, to their end."""
    root = Path(tempfile.mkdtemp(prefix="jp", dir="/tmp"))
    root.chmod(0o755)
    cluster = slurm_cluster.SlurmCluster(root / "slurm")
    service = ServiceProcess(root / "service", "--queue", f"slurm:conf={cluster.conf}", "--state", str(root / "state"))
    site = EngineSite(service, root / "bin", root / "work")
    try:
        cluster.start()
        for directory in (site.commands, site.work):
            directory.mkdir()
        site.work.chmod(0o777)
        for name in (*QUESTIONS, "sbatch", "scancel"):
            real = shutil.which(name)
            if real is not None:
                path = site.commands / name
                path.write_text(
                    f'#!/bin/sh\necho {name} >>{site.commands}/calls.log\nSLURM_CONF={cluster.conf} exec {real} "$@"\n'
                )
                path.chmod(0o755)
        if with_jobpush:
            service.start()
            service.ready()
        yield site
    finally:
        if service.process is not None:
            service.stop()
        cluster.stop()
        shutil.rmtree(root, ignore_errors=True)
