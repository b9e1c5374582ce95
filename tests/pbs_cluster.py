"""
The OpenPBS that is on PATH, for tests and benchmarks. None is started here: it is no Debian package.

Jobs run as the user of ``JOBPUSH_PBS_USER``, who needs a home on the execution host; by default as one that is made. To hold,
suspend and rerun them one must be a manager of it.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs

from jobpush_adapters.common.detect import detect_pbs
from tests.cluster import Cluster
from tests.slurm_cluster import wait_until

#: The user that is made.
OWN_USER = "jobpush-pbs"


@attrs.frozen
class Pbs(Cluster):
    """
    The commands of the PBS on PATH.

    :ivar user: whose the jobs are.
    :ivar home: of that user; jobs are submitted there.
    """

    user: str
    home: str

    @property
    def directory(self) -> str:  # type: ignore[override]
        """Where commands run."""
        return self.home

    @property
    def environment(self) -> Mapping[str, str]:
        """That of the tests."""
        return os.environ

    def submit(self, *options: str, script: str = "exit 0") -> str:
        """Submit a job; its id."""
        where = [] if "-o" in options else ["-o", "/dev/null"]
        return self.command("qsub", *where, "-e", "/dev/null", *options, "--", "/bin/sh", "-c", script, user=self.user)

    def stop_server(self) -> None:
        """End the server, and nothing else; jobs go on."""
        self.command("qterm", "-t", "quick")
        wait_until(lambda: self.run("qstat", "-B").returncode != 0, 30)

    def start_server(self) -> None:
        """Start the server; returns when it answers."""
        subprocess.run([_program("pbs_server")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        wait_until(lambda: self.run("qstat", "-B").returncode == 0, 60)


def why_not() -> str | None:
    """Why there is no OpenPBS here to submit jobs to; None if there is."""
    if detect_pbs() is None or "pbs_version" not in Pbs("root", "/").run("qstat", "--version").stdout:
        return "there is no OpenPBS on PATH, and no Debian package of it"
    if os.geteuid() != 0 or shutil.which("runuser") is None:
        return "submitting as another user needs root"
    return None


def why_not_configure() -> str | None:
    """Why the server may not be configured, or restarted; None if it may."""
    if os.environ.get("JOBPUSH_PBS_MAY_CONFIGURE") != "1":
        return "this changes the server's configuration, or restarts it: say JOBPUSH_PBS_MAY_CONFIGURE=1"
    return None


@contextmanager
def pbs_with_user() -> Iterator[Pbs]:
    """Yield the PBS with a user that exists, and has a home."""
    user = os.environ.get("JOBPUSH_PBS_USER")
    if user is not None:
        yield Pbs(user, pwd.getpwnam(user).pw_dir)
        return
    # At the root, not in the tests' directory: that may be one which only root may enter.
    home = tempfile.mkdtemp(prefix="jobpush-pbs-", dir="/var/tmp")
    _delete_user()  # one of a run that was killed
    subprocess.run(["useradd", "--no-create-home", "--home-dir", home, "--shell", "/bin/sh", OWN_USER], check=True)
    shutil.chown(home, OWN_USER)
    try:
        yield Pbs(OWN_USER, home)
    finally:
        _delete_user()
        # With what its deleted jobs have left behind.
        shutil.rmtree(home)


def _delete_user() -> None:
    subprocess.run(["userdel", "--force", OWN_USER], check=False, stderr=subprocess.DEVNULL)


def _program(name: str) -> str:
    """The path of a daemon: on PATH, or where pbs.conf says that PBS is."""
    conf = Path(os.environ.get("PBS_CONF_FILE", "/etc/pbs.conf"))
    found = re.search(r"^\s*PBS_EXEC=(\S+)", conf.read_text(), re.MULTILINE) if conf.exists() else None
    path = shutil.which(name) or (f"{found[1]}/sbin/{name}" if found is not None else None)
    if path is None:
        raise AssertionError(f"{name} is not found")
    return path
