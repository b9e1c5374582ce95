"""
``squeue``, ``sacct``, ``sdiag`` and ``scontrol`` as the Slurm adapter asks them, answering from files that a history writes.

`tests.faults.slurm_history.SlurmFiles` copies this file under each of the names. It has no imports but the standard library's:
each command is a process of its own, which is to start quickly.
"""

from __future__ import annotations

import os
import signal
import sys
import time

#: What stands for the token in the files of rows.
TOKEN = b"\1"

CONFIG = """\
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = {cluster}
MinJobAge               = 300 sec
PrivateData             = none
SlurmUser               = slurm(64030)
SLURM_VERSION           = 25.11.0
"""

#: What another cluster's squeue lists: a job that nobody here has.
FOREIGN = (
    b"990001|990001|RUNNING|0|far|f1|1790000000|1790000001|N/A|1:00:00|0|eve\1fNone\1ffar\1f/tmp\1f(null)\1fforeign\1r\n"
)


def read(name: str) -> bytes:
    """Return a file of the history; nothing if there is none."""
    try:
        with open(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "state", name), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def value(option: str) -> str | None:
    """Return what follows an option."""
    return sys.argv[sys.argv.index(option) + 1] if option in sys.argv else None


def names(row: bytes) -> tuple[bytes, bytes]:
    """Return the id of a row's job, and that of its array."""
    shown = row.split(b"|", 2)[1]
    return shown.partition(b"_[")[0], shown.partition(b"_")[0]


def squeue(fault: str) -> tuple[int, bytes, bytes]:
    """The rows, with the token that was asked for."""
    rows = FOREIGN if fault == "foreign" else read("squeue") + read("crowd")
    asked = value("-j")
    if asked is not None:
        wanted = asked.encode()
        some = [row for row in rows.splitlines(keepends=True) if wanted in names(row)]
        if not some:
            return 1, b"", b"slurm_load_jobs error: Invalid job id specified\n"
        rows = b"".join(some)
    token = (value("-O") or "").rpartition(":")[2][:-1]
    return 0, rows.replace(TOKEN, token.encode()), b""


def sacct(fault: str) -> tuple[int, bytes, bytes]:
    """The records of the jobs, and of the arrays, that were asked for."""
    if read("away"):
        return 1, b"", b"sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection\n"
    asked = set((value("-j") or "").encode().split(b","))
    lines = read("sacct").splitlines(keepends=True)
    found = [line for line in lines if {(job := line.partition(b"|")[0]), job.partition(b"_")[0]} & asked]
    return 0, b"".join(found), b""


def main() -> int:
    """Answer, or fail as the history says."""
    name = os.path.basename(sys.argv[0])
    fault = read(f"fault-{name}").decode() or read("fault").decode()
    if name == "squeue":
        status, out, err = squeue(fault)
    elif name == "sacct":
        status, out, err = sacct(fault)
    elif name == "sdiag":
        status, out, err = 0, b"DBD Agent queue size: %s\n" % (read("waiting") or b"0"), b""
    else:
        status, out, err = 0, CONFIG.format(cluster="far" if fault == "foreign" else "lab").encode(), b""
    if fault == "slow":
        time.sleep(0.8)
    elif fault == "hang":
        time.sleep(30)
    elif fault == "crash":
        status, out, err = 134, b"", f"{name}: error: double free or corruption\n".encode()
    elif fault == "killed":
        os.write(1, out[: len(out) // 3])
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "half":
        out = out[: len(out) // 2 + 3].removesuffix(b"\n")  # never at the end of a row: that would be another whole answer
    elif fault == "empty":
        out = b""
    elif fault == "complaint":
        status, out, err = 0, b"", f"{name}: error: Unable to contact slurm controller (connect failure)\n".encode()
    elif fault == "garbage":
        out = os.urandom(3000)
    sys.stderr.buffer.write(err)
    sys.stdout.buffer.write(out)
    return status


if __name__ == "__main__":
    sys.exit(main())
