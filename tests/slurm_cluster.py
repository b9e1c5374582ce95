"""
A real Slurm for the tests: one controller and a few nodes on this host, everything under one directory.

No systemd, loopback only, ports of its own; only what was started here is stopped, by pid. Needs root (slurmd starts jobs as
their owners) and the Debian packages slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins and munge.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster import Cluster

#: What must be on PATH.
PROGRAMS = ("slurmctld", "slurmd", "squeue", "sbatch", "munged")

#: Accounts that every Debian has, to run jobs as.
USER, OTHER_USER = "nobody", "games"

CONFIG = """\
ClusterName={name}
SlurmctldHost={host}({address})
SlurmctldPort={controller_port}
{binding}
AuthType=auth/munge
AuthInfo=socket={munge}/socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=10
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,batch_sched_delay=0
DependencyParameters=kill_invalid_depend
KillWait=2
MaxArraySize=20001
MaxJobCount=30000
SlurmctldTimeout=60
SlurmdTimeout=60
MessageTimeout=5
MinJobAge=300
RequeueExitHold=97
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{extra}
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr={address} Port=[{first_port}-{last_port}] CPUs=32 RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=secret Nodes=ALL Default=NO MaxTime=INFINITE State=UP Hidden=YES
PartitionName=first Nodes=ALL Default=NO MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
PartitionName=spare Nodes=ALL Default=NO MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
"""


#: What accounting needs besides.
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb", "sacct")

ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={address}
AccountingStoragePort={database_port}
AccountingStoragePass={munge}/socket
"""

DATABASE_CONFIG = """\
DbdHost={host}
DbdAddr={address}
DbdPort={database_port}
AuthType=auth/munge
AuthInfo=socket={munge}/socket
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageUser=slurm
StoragePass=lab
StorageLoc=slurm_acct_db
PidFile={root}/run/slurmdbd.pid
LogFile={root}/log/slurmdbd.log
{binding}
"""

GRANTS = """\
create database slurm_acct_db;
create user 'slurm'@'127.0.0.1' identified by 'lab';
create user 'slurm'@'localhost' identified by 'lab';
grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1';
grant all on slurm_acct_db.* to 'slurm'@'localhost';
"""


def why_not(accounting: bool = False) -> str | None:
    """Why no Slurm can be started here; None if it can."""
    if os.geteuid() != 0:
        return "a real Slurm needs root (slurmd starts jobs as their owners)"
    missing = [program for program in (*PROGRAMS, *(ACCOUNTING_PROGRAMS if accounting else ())) if shutil.which(program, path=_path()) is None]
    if missing:
        return f"a real Slurm needs {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge"
    return None


class SlurmCluster(Cluster):
    """
    :param root: an empty directory that jobs' owners may enter; its path is short (it holds sockets).
    :param extra: more lines of slurm.conf.
    :param accounting: with a database behind ``sacct``.
    :param name: of the cluster.
    :param shares: a running cluster with accounting, of which this one uses the database and the key.
    """

    def __init__(
        self,
        root: Path,
        nodes: int = 2,
        extra: str = "",
        accounting: bool = False,
        name: str = "lab",
        shares: SlurmCluster | None = None,
    ) -> None:
        self.root = root
        self.name = name
        self.shares = shares
        self.nodes = nodes
        self.extra = extra
        self.conf = root / "etc" / "slurm.conf"
        self.accounting = accounting or shares is not None
        self._controller_port, self._database_port, self._sql_port = free_ports(3)
        if shares is not None:
            self._database_port = shares._database_port
        self._first_port = free_port_range(nodes)[0]
        self._database: subprocess.Popen[bytes] | None = None
        self._pids: dict[str, int] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What Slurm's commands need to find this cluster."""
        return {"PATH": _path(), "SLURM_CONF": str(self.conf), "LC_ALL": "C.UTF-8"}

    def start(self) -> None:
        """Write the configuration and start everything; returns when the nodes are idle."""
        for name in ("etc", "run", "log", "state", "spool", "munge"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o755)
        (self.root / "munge").chmod(0o711)
        self.write_config()
        (self.root / "etc" / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        if self.shares is None:
            self._start_munge()
        if self.accounting:
            if self.shares is None:
                self._start_database()
            wait_until(lambda: self.run("sacctmgr", "-i", "add", "cluster", self.name).returncode == 0, 60)
        self.start_controller()
        for number in range(1, self.nodes + 1):
            (self.root / "spool" / f"n{number}").mkdir(exist_ok=True)
            self._run("slurmd", "-N", f"n{number}")
            self._await_pid(f"slurmd.n{number}")
        wait_until(lambda: self.command("sinfo", "-h", "-N", "-o", "%T", "-p", "main").split() == ["idle"] * self.nodes, 60)

    def write_config(self, extra: str | None = None) -> None:
        """Write slurm.conf, with other extra lines if given; the daemons read it when they start or are told to."""
        extra = self.extra if extra is None else extra
        if self.accounting:
            extra += "\n" + self._format(ACCOUNTING)
        text = self._format(CONFIG, extra=extra)
        for line in extra.splitlines():
            key = line.partition("=")[0]  # a key that is set in the extra lines replaces ours
            text = "\n".join(given for given in text.split("\n") if given == line or not key or given.partition("=")[0] != key)
        self.conf.write_text(text)

    def _format(self, template: str, **values: str) -> str:
        host = socket.gethostname().partition(".")[0]
        try:
            address, binding = socket.gethostbyname(host), "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny"
        except OSError:
            address, binding = "127.0.0.1", ""
        return template.format(
            host=host, address=address, binding=binding, root=self.root, nodes=self.nodes, sql_port=self._sql_port,
            controller_port=self._controller_port, database_port=self._database_port, first_port=self._first_port,
            last_port=self._first_port + self.nodes - 1, name=self.name, munge=(self.shares or self).root / "munge", **values,
        )  # fmt: skip

    def _start_munge(self) -> None:
        """A key of its own, and munged."""
        key = self.root / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        self._run(
            "munged", f"--key-file={key}", f"--socket={self.root}/munge/socket", f"--pid-file={self.root}/run/munged.pid",
            f"--log-file={self.root}/munge/log", f"--seed-file={self.root}/munge/seed", "--num-threads=2", "--force",
        )  # fmt: skip
        self._await_pid("munged")

    def _start_database(self) -> None:
        """A database of its own, and slurmdbd."""
        data = self.root / "db"
        data.mkdir()
        shutil.chown(data, "nobody")
        self._run(
            "mariadb-install-db", "--no-defaults", "--user=nobody", f"--datadir={data}", "--skip-test-db",
            "--auth-root-authentication-method=normal",
        )  # fmt: skip
        with open(self.root / "log" / "mariadb.log", "wb") as log:
            self._database = subprocess.Popen(
                [
                    "mariadbd", "--no-defaults", "--user=nobody", f"--datadir={data}", f"--socket={data}/sock",
                    "--bind-address=127.0.0.1", f"--port={self._sql_port}", f"--pid-file={data}/pid",
                    "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900",
                ],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        sock = data / "sock"
        client = ["mariadb", "--no-defaults", "-uroot", "-S", str(sock), "-e"]
        wait_until(lambda: self.run(*client, "select 1").returncode == 0, 30)
        self.command(*client, GRANTS)
        config = self.root / "etc" / "slurmdbd.conf"
        config.touch(mode=0o600)
        config.write_text(self._format(DATABASE_CONFIG).replace(",NoCtldInAddrAny", ""))
        self.start_accounting()

    def start_accounting(self) -> None:
        """Start slurmdbd."""
        self._run("slurmdbd")
        self._await_pid("slurmdbd")

    def stop_accounting(self) -> None:
        """End slurmdbd, and nothing else."""
        self._end("slurmdbd")

    def start_controller(self) -> None:
        """Start slurmctld; returns when it answers."""
        self._run("slurmctld")
        self._await_pid("slurmctld")
        wait_until(lambda: self.run("scontrol", "ping").returncode == 0, 30)

    def stop_controller(self) -> None:
        """End slurmctld, and nothing else."""
        self._end("slurmctld")

    def stop(self) -> None:
        """End the jobs, then what was started here."""
        if "slurmctld" in self._pids:
            for partition in ("main", "secret", "first", "spare"):
                self.run("scancel", "-p", partition)
            try:
                wait_until(lambda: not self.command("squeue", "-h", "-a", "-t", "R,CG", "-o", "%i"), 20)
            except (TimeoutError, subprocess.CalledProcessError):
                pass
        last = ("slurmdbd", "munged")
        for name in sorted(self._pids, key=lambda name: last.index(name) if name in last else -1):
            self._end(name)
        if self._database is not None:
            self._database.terminate()
            self._database.wait(30)
        self._end_steps()

    # -- commands

    def submit(self, *options: str, script: str = "exit 0", user: str = USER) -> str:
        """Submit a batch job; its id."""
        wrapped = ["sbatch", "--parsable", "-D", "/tmp", "-o", "/dev/null", *options, "--wrap", script]
        return self.command(*wrapped, user=user).partition(";")[0]

    # -- processes

    def _run(self, *argv: str) -> None:
        done = subprocess.run(argv, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{argv}: {done.stderr.decode(errors='replace')}")

    def _await_pid(self, name: str) -> None:
        path = self.root / "run" / f"{name}.pid"
        wait_until(lambda: path.exists() and path.read_text().strip().isdigit(), 20)
        self._pids[name] = int(path.read_text())

    def _end(self, name: str) -> None:
        pid = self._pids.pop(name, None)
        if pid is None or not _is(pid, name.partition(".")[0]):
            return
        os.kill(pid, signal.SIGTERM)
        try:
            wait_until(lambda: not _is(pid, name.partition(".")[0]), 15)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
        (self.root / "run" / f"{name}.pid").unlink(missing_ok=True)

    def _end_steps(self) -> None:
        """A slurmstepd is no child of slurmd: end those of this cluster."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _is(int(entry.name), "slurmstepd"):
                environ = (entry / "environ").read_bytes().split(b"\0") if os.access(entry / "environ", os.R_OK) else []
                if f"SLURM_CONF={self.conf}".encode() in environ:
                    os.kill(int(entry.name), signal.SIGKILL)


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.1) -> None:
    """Until the condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(every)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def free_port_range(count: int) -> list[int]:
    """As many ports in a row."""
    for first in range(21000 + os.getpid() % 5000, 60000, count):
        try:
            for s in [socket.create_server(("127.0.0.1", first + i)) for i in range(count)]:
                s.close()
        except OSError:
            continue
        return [first]
    raise AssertionError("no free ports")


def _path() -> str:
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _is(pid: int, name: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == name[:15] and "Z" not in Path(
            f"/proc/{pid}/stat"
        ).read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


__all__ = ["OTHER_USER", "USER", "SlurmCluster", "free_ports", "wait_until", "why_not"]
