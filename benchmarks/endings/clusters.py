"""What differs between the schedulers: how jobs are named, whether any is left, what the records say, how files are rotated."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from benchmarks.endings.plans import WHOLE
from benchmarks.endings.verdict import Record
from tests.pbs_cluster import Pbs
from tests.sge_cluster import GridEngine
from tests.slurm_cluster import SlurmCluster

#: The parallel environment of most MPI installations: slaves are started under the scheduler's control and recorded each.
PARALLEL = """\
pe_name endings
slots 64
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves TRUE
job_is_first_task FALSE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""


class Scheduler(Protocol):
    """A real scheduler, as the run needs it."""

    name: str
    script: str
    cluster: SlurmCluster | GridEngine | Pbs

    def prepare(self) -> None:
        """Set up what the jobs need besides."""

    def queue(self, grace_s: int) -> str:
        """Return the ``--queue`` of jobpush."""

    def part(self, job: str, task: int) -> str:
        """Return the id of an array's task."""

    def stop(self) -> None:
        """End the scheduler's own daemon; jobs go on."""

    def start(self) -> None:
        """Start it again."""

    def open_jobs(self) -> list[str]:
        """Return what has not ended."""

    def rotate(self) -> None:
        """Rotate the files of records, where there are any."""

    def records(self) -> Mapping[str, Record]:
        """Return the last record of each job and task."""


class Slurm:
    name = "slurm"
    script = "TASK=${SLURM_ARRAY_TASK_ID:-}"

    def __init__(self, cluster: SlurmCluster) -> None:
        self.cluster = cluster

    def prepare(self) -> None:
        pass

    def queue(self, grace_s: int) -> str:
        return f"slurm:interval=1:grace={grace_s}:conf={self.cluster.conf}"

    def part(self, job: str, task: int) -> str:
        return job if task == WHOLE else f"{job}_{task}"

    def stop(self) -> None:
        self.cluster.stop_controller()

    def start(self) -> None:
        self.cluster.start_controller()

    def open_jobs(self) -> list[str]:
        return self.cluster.command("squeue", "-h", "-a", "-t", "PD,R,S,CG,CF", "-o", "%i %T %r").splitlines()

    def rotate(self) -> None:
        pass

    def records(self) -> Mapping[str, Record]:
        fields = "JobID,State,ExitCode"
        answer = self.cluster.command("sacct", "-n", "-P", "-X", "-a", "-S", "now-2hours", "-o", fields)
        found = {}
        for line in answer.splitlines():
            job, state, code = line.split("|")
            if state.startswith(("PENDING", "RUNNING", "REQUEUED", "SUSPENDED")):
                continue
            exited, number = map(int, code.split(":"))
            state = {"OUT": "OUT_OF_MEMORY"}.get(state.split()[0], state.split()[0])
            if code == "0:53":
                state, number = "LAUNCH_FAIL", 0
            told = None if number or state not in ("COMPLETED", "FAILED") else exited
            record = Record(f"{state} {code}", state, told, number or None)
            for one in _members(job):
                found[one] = record
        return found


class Sge:
    name = "sge"
    script = 'TASK=$SGE_TASK_ID; [ "$TASK" != undefined ] || TASK='

    def __init__(self, cluster: GridEngine) -> None:
        self.cluster = cluster

    def prepare(self) -> None:
        path = self.cluster.root / "log" / "parallel"
        path.write_text(PARALLEL)
        self.cluster.run("qconf", "-Ap", str(path))
        self.cluster.command("qconf", "-mattr", "queue", "pe_list", "endings", "all.q")
        qrsh = self.cluster.bin / "qrsh"
        if not qrsh.exists():
            qrsh.symlink_to("qsh")
        self.script += f"; QRSH={qrsh}"

    def queue(self, grace_s: int) -> str:
        cluster = self.cluster
        return f"sge:interval=1:grace={grace_s}:root={cluster.root}:qmaster_port={cluster.port}:bin={cluster.bin}"

    def part(self, job: str, task: int) -> str:
        return job if task == WHOLE else f"{job}.{task}"

    def stop(self) -> None:
        self.cluster.stop_qmaster()

    def start(self) -> None:
        self.cluster.start_qmaster()

    def open_jobs(self) -> list[str]:
        return self.cluster.command("qstat", "-u", "*").splitlines()[2:]

    def rotate(self) -> None:
        """As logrotate does with ``delaycompress``: the newest is moved, the one before is compressed."""
        for path in self._files():
            for age in (2, 1):
                old = path.with_name(f"{path.name}.{age}")
                packed = path.with_name(f"{path.name}.{age + 1}.gz")
                if old.exists():
                    with open(old, "rb") as source, gzip.open(packed, "wb") as target:
                        shutil.copyfileobj(source, target)
                    shutil.copystat(old, packed)
                    old.unlink()
            if path.exists():
                os.rename(path, path.with_name(f"{path.name}.1"))

    def _files(self) -> list[Path]:
        return [self.cluster.accounting, self.cluster.accounting.with_name("reporting")]

    def records(self) -> Mapping[str, Record]:
        found = {}
        for line in self._accounting():
            fields = line.split(":")
            if line.startswith("#") or len(fields) < 43 or fields[41] != "NONE":
                continue
            job, failed, code, task = fields[5], int(fields[11].split()[0]), int(fields[12]), int(fields[35])
            if failed == 25 or (code == 99 and failed == 0):
                continue
            text = f"{failed}/{code}"
            if failed == 0:
                record = Record(text, "FAILED" if code else "COMPLETED", code)
            elif failed == 100:
                record = Record(text, "FAILED", None, code - 128)
            else:
                record = Record(text, {37: "TIMEOUT"}.get(failed, "LAUNCH_FAIL"))
            found[self.part(job, task)] = record
        return found

    def _accounting(self) -> Iterator[str]:
        common = self.cluster.accounting
        packed = sorted(common.parent.glob(f"{common.name}.*.gz"), reverse=True)
        plain = [path for path in (common.with_name(f"{common.name}.1"), common) if path.exists()]
        for path in packed:
            with gzip.open(path, "rt", errors="replace") as lines:
                yield from lines
        for path in plain:
            yield from path.read_text(errors="replace").splitlines()


class OpenPbs:
    """An OpenPBS that is there: its history must be on, and whoever runs this a manager of it."""

    name = "pbs"
    script = "TASK=${PBS_ARRAY_INDEX:-}"

    def __init__(self, cluster: Pbs) -> None:
        self.cluster = cluster

    def prepare(self) -> None:
        if "job_history_enable = True" not in self.cluster.command("qmgr", "-c", "list server"):
            raise SystemExit("the server keeps no history: qmgr -c 'set server job_history_enable = True'")

    def queue(self, grace_s: int) -> str:
        return f"pbs:interval=1:grace={grace_s}"

    def part(self, job: str, task: int) -> str:
        return job if task == WHOLE else job.replace("[]", f"[{task}]")

    def stop(self) -> None:
        self.cluster.stop_server()

    def start(self) -> None:
        self.cluster.start_server()

    def open_jobs(self) -> list[str]:
        return self.cluster.command("qstat", "-u", self.cluster.user).splitlines()[5:]

    def rotate(self) -> None:
        """Its logs have a file for each day."""

    def records(self) -> Mapping[str, Record]:
        found = {}
        for job, told in json.loads(self.cluster.command("qstat", "-x", "-t", "-f", "-F", "json"))["Jobs"].items():
            if told["job_state"] not in ("F", "X") or "[]" in job:
                continue
            status, substate = told.get("Exit_status"), str(told.get("substate"))
            text = f"{substate} {status}"
            if "[" in job and not ("run_count" in told and "exec_host" in told):
                record = Record(f"{text}, never run", "CANCELLED")
            elif status is None or substate == "91":
                number = int(status) - 256 if status is not None and int(status) > 256 else None
                record = Record(text, "CANCELLED", None, number)
            else:
                record = _pbs_record(int(status), text)
            found[job] = record
        return found


def _pbs_record(status: int, text: str) -> Record:
    if status < 0:
        return Record(text, {-29: "TIMEOUT", -28: "TIMEOUT"}.get(status, "FAILED"))
    if status > 256:
        return Record(text, "FAILED", None, status - 256)
    return Record(text, "FAILED" if status else "COMPLETED", status)


def _members(job: str) -> list[str]:
    """Return the ids that one of sacct's names: ``5_[2-4%1]`` is three."""
    found = re.fullmatch(r"([0-9]+)_\[([0-9,-]+)(?:%[0-9]+)?\]", job)
    if found is None:
        return [job]
    members = []
    for span in found[2].split(","):
        first, _, last = span.partition("-")
        members += [f"{found[1]}_{task}" for task in range(int(first), int(last or first) + 1)]
    return members
