"""Jobs of all kinds on the real Slurm, while it and jobpush are restarted: what is told is what the jobs did."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.endings.clusters import Scheduler, Slurm
from benchmarks.endings.run import Run, failures, table
from benchmarks.endings.verdict import Verdict
from tests.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.service, pytest.mark.timeout(240)]


@pytest.mark.slurm
def test_slurm(forgetful_slurm: SlurmCluster, short_path: Path) -> None:
    """30 jobs, a restart of slurmctld and a kill of jobpush."""
    _check(Slurm(forgetful_slurm), short_path / "ends-slurm")


def _check(scheduler: Scheduler, directory: Path) -> None:
    run = Run(scheduler, directory, 30, 25, 7, short=True, grace_s=8, say=lambda text: None)
    found = run.run()
    wrong = failures(found, run.problems)
    permitted = [str(one) for one in found if one.verdict is Verdict.PERMITTED]
    assert not wrong, "\n".join([*table(scheduler.name, found), *permitted, *wrong])
