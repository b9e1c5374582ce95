"""
A real Grid Engine for the tests: a qmaster and one execution daemon on this host, everything under one directory.

No systemd, loopback only, ports of its own; only what was started here is stopped, by pid. Needs root (the execution daemon
starts jobs as their owners) and the programs that ``install-sge.sh`` unpacks.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests.cluster import Cluster
from tests.slurm_cluster import USER, free_ports, wait_until

ROOT = Path(__file__).resolve().parent.parent

#: Where ``install-sge.sh`` has put the programs.
PROGRAMS = Path(os.environ.get("JOBPUSH_SGE_PROGRAMS") or ROOT / ".venv" / "sge")

BOOTSTRAP = """\
admin_user              none
default_domain          none
ignore_fqdn             false
spooling_method         berkeleydb
spooling_lib            libspoolb
spooling_params         {root}/spool/db
binary_path             {root}/bin
qmaster_spool_dir       {root}/spool/qmaster
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
"""

#: What differs from the default configuration.
SETTINGS = {
    "execd_spool_dir": "{root}/spool/execd",
    "mailer": "/bin/true",
    "min_uid": "0",
    "min_gid": "0",
    "load_report_time": "00:00:05",
    "execd_params": "INHERIT_ENV=false",
    "reporting_params": "accounting=true reporting=true flush_time=00:00:01 joblog=true sharelog=00:00:00",
}

SCHEDULER = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1", "job_load_adjustments": "NONE"}


def why_not() -> str | None:
    """Why no Grid Engine can be started here; None if it can."""
    if os.geteuid() != 0:
        return "a real Grid Engine needs root (its execution daemon starts jobs as their owners)"
    if not (PROGRAMS / "complete").exists():
        return f"a real Grid Engine needs its programs: sh tests/install-sge.sh {PROGRAMS}"
    try:
        socket.gethostbyname(socket.gethostname())
    except OSError:
        return f"a real Grid Engine needs a host whose name resolves: add '127.0.0.1 {socket.gethostname()}' to /etc/hosts"
    return None


class GridEngine(Cluster):
    """
    :param root: an empty directory that jobs' owners may enter.
    :param settings: more of the global configuration.
    """

    def __init__(self, root: Path, settings: dict[str, str] | None = None, slots: int = 64) -> None:
        self.root = root
        self.slots = slots
        self.settings = {**SETTINGS, **(settings or {})}
        self.port, self._execd_port = free_ports(2)
        self.accounting = root / "default" / "common" / "accounting"
        self._pids: dict[str, int] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What Grid Engine's commands need to find this cluster."""
        return {
            "PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "SGE_ROOT": str(self.root), "SGE_CELL": "default", "TZ": "UTC",
            "SGE_ARCH": "lx-amd64", "SGE_QMASTER_PORT": str(self.port), "SGE_EXECD_PORT": str(self._execd_port), "LC_ALL": "C.UTF-8",
        }  # fmt: skip

    @property
    def bin(self) -> Path:
        """Where its commands are."""
        return self.root / "bin" / "lx-amd64"

    def start(self) -> None:
        """Write the configuration and start everything; returns when the queue takes jobs."""
        for name in ("bin", "lib", "util"):
            shutil.copytree(PROGRAMS / name, self.root / name, symlinks=True)
        self.root.chmod(0o755)
        common = self.root / "default" / "common"
        for directory in (common, self.root / "log", *(self.root / "spool" / name for name in ("db", "execd", "qmaster/job_scripts"))):
            directory.mkdir(parents=True)
        host = socket.gethostname()
        (common / "bootstrap").write_text(BOOTSTRAP.format(root=self.root))
        (common / "act_qmaster").write_text(host + "\n")
        # A host's own name and the name of its address must be the same: declare them equal.
        names = {"localhost", *self._names(host), *self._names("127.0.0.1")} - {host}
        (common / "host_aliases").write_text(" ".join([host, *sorted(names)]) + "\n")
        initial = common / "configuration.initial"
        initial.write_text(changed((self.root / "util" / "default-configuration").read_text(), self._settings()))
        spool = str(self.root / "spool" / "db")
        self.command("spoolinit", "berkeleydb", "libspoolb", spool, "init")
        self.command("spooldefaults.bin", "configuration", str(initial))
        self.command("spooldefaults.bin", "complexes", str(self.root / "util" / "resources" / "centry"))
        self.command("spooldefaults.bin", "usersets", str(self.root / "util" / "resources" / "usersets"))
        self.command("spooldefaults.bin", "managers", "root")
        self.start_qmaster()
        self.run("qconf", "-as", host)
        self._set("-ssconf", "-Msconf", SCHEDULER)
        self._add("-Ahgrp", f"group_name @allhosts\nhostlist {host}\n")
        self._daemon("sge_execd")
        wait_until(lambda: host in self.run("qconf", "-sel").stdout.split(), 30)
        queue = {
            "qname": "all.q", "hostlist": "@allhosts", "slots": str(self.slots), "pe_list": "NONE", "load_thresholds": "NONE",
            "shell": "/bin/sh", "rerun": "TRUE",
        }  # fmt: skip
        self._add("-Aq", changed(self.command("qconf", "-sq"), queue))
        wait_until(self._ready, 30)

    def start_qmaster(self) -> None:
        """Start the qmaster; returns when it answers."""
        self._daemon("sge_qmaster")
        wait_until(lambda: self.run("qconf", "-sh", timeout=5).returncode == 0, 30)

    def stop_qmaster(self) -> None:
        """End the qmaster, and nothing else."""
        self._end("sge_qmaster")

    def pid(self, name: str) -> int:
        """The process of a daemon."""
        return self._pids[name]

    def stop(self) -> None:
        """End the jobs, then what was started here."""
        if "sge_qmaster" in self._pids:
            self.run("qdel", "-f", "-u", "*")
            active = self.root / "spool" / "execd"
            try:
                wait_until(lambda: not [*active.glob("*/active_jobs/*.*")], 10)
            except TimeoutError:
                pass
        for name in ("sge_execd", "sge_qmaster"):
            self._end(name)
        for pid in self._running():
            os.kill(pid, signal.SIGKILL)

    def configure(self, **settings: str) -> None:
        """Change the global configuration while it runs."""
        self.settings.update(settings)
        self._set("-sconf", "-Mconf", self._settings())

    def add_parallel_environment(self, name: str) -> None:
        """Add an environment whose slaves are Grid Engine's own processes, with accounting records of their own; as for MPI."""
        settings = {
            "pe_name": name, "slots": "64", "user_lists": "NONE", "xuser_lists": "NONE", "start_proc_args": "NONE", "stop_proc_args": "NONE",
            "allocation_rule": "$pe_slots", "control_slaves": "TRUE", "job_is_first_task": "FALSE", "urgency_slots": "min",
            "accounting_summary": "FALSE", "qsort_args": "NONE",
        }  # fmt: skip
        self._add("-Ap", changed("", settings))
        self.command("qconf", "-aattr", "queue", "pe_list", name, "all.q")

    # -- commands

    def slave(self, script: str) -> str:
        """What a parallel job's script runs to start that as a slave."""
        program = self.bin / "qrsh"
        if not program.exists():
            program.symlink_to("qsh")
        variables = " ".join(f"{key}={value}" for key, value in self.environment.items() if key.startswith("SGE_"))
        return f"env {variables} {program} -inherit $(hostname) {script} </dev/null >/dev/null 2>&1"

    def submit(self, *options: str, script: str = "exit 0", user: str = USER) -> str:
        """Submit a batch job; its number."""
        path = self.root / "log" / f"job{len(os.listdir(self.root / 'log'))}.sh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        (self.root / "log").chmod(0o755)
        answer = self.command("qsub", "-terse", "-wd", "/tmp", "-j", "y", "-o", "/dev/null", *options, str(path), user=user)
        found = re.match(r"[0-9]+", answer)
        assert found is not None, answer
        return found[0]

    # -- helpers

    def _settings(self) -> dict[str, str]:
        return {key: value.format(root=self.root) for key, value in self.settings.items()}

    def _names(self, host: str) -> list[str]:
        try:
            name, aliases, _ = socket.gethostbyaddr(host)
        except OSError:
            return []
        return [name, *aliases]

    def _set(self, show: str, modify: str, settings: dict[str, str]) -> None:
        self._add(modify, changed(self.command("qconf", show), settings), name="global")

    def _add(self, option: str, text: str, name: str = "object") -> None:
        path = self.root / "log" / name
        path.write_text(text)
        self.command("qconf", option, str(path))

    def _ready(self) -> bool:
        """Return whether the queue is there, in no state of error or unknown."""
        lines = self.run("qstat", "-f", "-q", "all.q").stdout.splitlines()
        return any(line.startswith("all.q@") and len(line.split()) == 5 for line in lines)

    def _daemon(self, name: str) -> None:
        address = socket.gethostbyname(socket.gethostname())
        environment = {**self.environment, "LD_PRELOAD": str(PROGRAMS / "bind.so"), "BIND_ADDRESS": address}
        with open(self.root / "log" / f"{name}.out", "wb") as log:
            done = subprocess.run(
                [str(self.bin / name)], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60, check=False,
                start_new_session=True,
            )  # fmt: skip
        if done.returncode != 0:
            raise AssertionError(f"{name}: {(self.root / 'log' / f'{name}.out').read_text()}")
        wait_until(lambda: bool(self._running(name)), 20)
        self._pids[name] = self._running(name)[0]

    def _running(self, name: str = "") -> list[int]:
        """The processes that run a program of this directory."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    program = os.readlink(entry / "exe")
                except OSError:
                    continue
                if program.startswith(str(self.bin) + "/") and program.endswith(name):
                    found.append(int(entry.name))
        return found

    def _end(self, name: str) -> None:
        pid = self._pids.pop(name, None)
        if pid is None or pid not in self._running(name):
            return
        os.kill(pid, signal.SIGTERM)
        try:
            wait_until(lambda: pid not in self._running(name), 4)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)


def changed(text: str, settings: dict[str, str]) -> str:
    """A configuration of ``qconf`` with some lines changed."""
    lines = [line for line in re.sub(r"\\\n\s*", " ", text).split("\n") if line and not line.startswith("#")]
    lines = [line for line in lines if line.split()[0] not in settings]
    return "\n".join([*lines, *(f"{key} {value}" for key, value in settings.items())]) + "\n"
