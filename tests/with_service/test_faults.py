"""The suite of faults, in short: it finds nothing in the service, and it finds each fault that is put in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.faults.__main__ import BREAKS, SLURM_BREAKS
from tests.service_process import ROOT, twistd_environment

pytestmark = pytest.mark.service


#: Faults of the machine.
MACHINE = ("journal: disk full", "journal: syncs fail", "journal: n-th call fails", "clock set", "few descriptors")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The suite, to its end."""
    command = [sys.executable, "-m", "tests.faults", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=twistd_environment(None), capture_output=True, text=True, timeout=170, check=False
    )


def test_faults() -> None:
    """All faults once or more, clients of each kind: no violation."""
    result = run("--seed", "1", "--minutes", "0.75", "--clients", "3")
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 violations" in result.stdout
    for fault in ("kill -9", "SIGTERM", "SIGSTOP", "-wal lost", "backup restored", "crowd", "file empty", *MACHINE):
        assert f"| {fault} |" in result.stdout


#: What the service itself says each second, if it is so (``--debug-invariants``).
INVARIANT = "an invariant of held requests is violated"

#: For each fault that is put in, what it may be found as: one of these kinds of violations, or by that line of the log.
FOUND_AS = {
    "doubled": ["twice or out of order"],
    "lost": ["not told"],
    "deadlines": ["late", "no answer"],
    "wedge": ["no answer", "held"],
    "held": ["held", "metrics", INVARIANT],
    "early": ["early"],
    "ahead": ["not told"],
    "metrics": ["metrics"],
    "proxied": ["no answer", "status"],
}


@pytest.fixture(scope="module")
def broken() -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """A run with each fault, all at once: they wait most of the time, and what is found need not be on time."""
    of_slurm = [word for name in SLURM_BREAKS for word in ("--break", name)]
    with ThreadPoolExecutor(len(FOUND_AS) + 1) as threads:
        begun = {name: threads.submit(run, "--seed", "1", "--minutes", "0.3", "--clients", "3", "--break", name) for name in FOUND_AS}
        begun["slurm"] = threads.submit(run, "--seed", "1", "--minutes", "0.3", "--clients", "2", "--source", "slurm", *of_slurm)
        yield begun


def test_each_is_tried() -> None:
    """No fault that can be put in is left out."""
    assert sorted(FOUND_AS) == sorted(BREAKS)


@pytest.mark.parametrize("name", FOUND_AS)
def test_finds(name: str, broken: dict[str, Future[subprocess.CompletedProcess[str]]]) -> None:
    """A fault of the service is found, and named for what it is."""
    result = broken[name].result()
    assert result.returncode == 1, result.stdout + result.stderr
    found = [kind for kind in FOUND_AS[name] if f"x {kind}\n" in result.stdout or (kind == INVARIANT and kind in result.stdout)]
    assert found, result.stdout


def test_finds_of_slurm(broken: dict[str, Future[subprocess.CompletedProcess[str]]]) -> None:
    """Each of the faults that this source is to find, and each by the check that is for it."""
    result = broken["slurm"].result()
    assert result.returncode == 1, result.stdout + result.stderr
    for kind in ("told late", "state not told", "invented", "success not proved", "ending not told"):
        assert f"x {kind}\n" in result.stdout, result.stdout


def test_out_of_range() -> None:
    """A suite without clients would find nothing: it is refused."""
    result = run("--clients", "0")
    assert (result.returncode, "out of range" in result.stderr) == (2, True)
