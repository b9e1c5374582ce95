"""What pytest needs to know of these tests; trial runs those that are test cases without it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests import sge_cluster, slurm_cluster, ssh_server

Server = TypeVar("Server", slurm_cluster.SlurmCluster, sge_cluster.GridEngine, ssh_server.SshServer)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trial's test cases first: pytest-twisted keeps the reactor for itself once it has begun."""
    items.sort(key=lambda item: "with_service" in item.nodeid)


@pytest.fixture(scope="session", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Test cases make their files where pytest runs: not in the checkout."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("work"))
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def short_path() -> Iterator[Path]:
    """A directory with a short path, for sockets, that other users may enter."""
    path = Path(tempfile.mkdtemp(prefix="jp", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def slurm(short_path: Path) -> Iterator[slurm_cluster.SlurmCluster]:
    """A real Slurm, for all tests that need one."""
    yield from running(slurm_cluster.SlurmCluster(short_path / "slurm"), slurm_cluster.why_not())


@pytest.fixture(scope="session")
def forgetful_slurm(short_path: Path) -> Iterator[slurm_cluster.SlurmCluster]:
    """A real Slurm that forgets finished jobs in a few seconds, with accounting."""
    cluster = slurm_cluster.SlurmCluster(short_path / "acct", extra="MinJobAge=2", accounting=True)
    yield from running(cluster, slurm_cluster.why_not(accounting=True))


@pytest.fixture(scope="session")
def sge(short_path: Path) -> Iterator[sge_cluster.GridEngine]:
    """A real Grid Engine, for all tests that need one."""
    yield from running(sge_cluster.GridEngine(short_path / "sge"), sge_cluster.why_not())


@pytest.fixture(scope="session")
def ssh(short_path: Path) -> Iterator[ssh_server.SshServer]:
    """A real sshd."""
    yield from running(ssh_server.SshServer(short_path / "ssh"), ssh_server.why_not())


def running(server: Server, why: str | None) -> Iterator[Server]:
    """A server while it runs, unless there is a reason why it cannot."""
    if why is not None:
        pytest.skip(why)
    try:
        server.start()
        yield server
    finally:
        server.stop()
