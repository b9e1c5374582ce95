"""The suite of faults, in short: it finds nothing in the service, and it finds each fault that is put in."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.faults.__main__ import BREAKS
from tests.service_process import ROOT, twistd_environment

pytestmark = pytest.mark.service


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The suite, to its end."""
    command = [sys.executable, "-m", "tests.faults", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=twistd_environment(None), capture_output=True, text=True, timeout=170, check=False
    )


def test_faults() -> None:
    """All faults once or more, clients of each kind: no violation."""
    result = run("--seed", "1", "--minutes", "0.75", "--clients", "3", "--source", "mock")
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 violations" in result.stdout
    for fault in ("kill -9", "SIGTERM", "SIGSTOP", "-wal lost", "backup restored", "crowd", "file empty"):
        assert f"| {fault} |" in result.stdout


@pytest.mark.parametrize(
    ("broken", "kinds"),
    [
        ("doubled", ["twice or out of order"]),
        ("lost", ["not told"]),
        ("deadlines", ["late", "no answer"]),
        ("wedge", ["no answer", "held"]),
    ],
)
def test_finds(broken: str, kinds: list[str]) -> None:
    """A fault of the service is found, and named for what it is."""
    assert broken in BREAKS
    result = run("--seed", "1", "--minutes", "0.3", "--clients", "2", "--source", "mock", "--break", broken)
    assert result.returncode == 1, result.stdout + result.stderr
    assert any(f"x {kind}\n" in result.stdout for kind in kinds), result.stdout


def test_faults_of_slurm() -> None:
    """The same with a scripted Slurm, whose commands fail."""
    result = run("--seed", "1", "--minutes", "0.4", "--clients", "2", "--source", "slurm")
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 violations" in result.stdout
    for fault in ("squeue hangs", "squeue half", "another cluster's answers", "slurmdbd away", "array"):
        assert f"| {fault} |" in result.stdout


def test_finds_of_slurm() -> None:
    """Each of the faults that this source is to find, and each by the check that is for it."""
    broken = [word for name in ("slow", "unseen", "invented", "endless") for word in ("--break", name)]
    result = run("--seed", "1", "--minutes", "0.3", "--clients", "2", "--source", "slurm", *broken)
    assert result.returncode == 1, result.stdout + result.stderr
    for kind in ("told late", "state not told", "invented", "success not proved", "ending not told"):
        assert f"x {kind}\n" in result.stdout, result.stdout


def test_out_of_range() -> None:
    """A suite without clients would find nothing: it is refused."""
    result = run("--clients", "0")
    assert (result.returncode, "out of range" in result.stderr) == (2, True)
