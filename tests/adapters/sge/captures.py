"""Recorded answers of Grid Engine, and lines of its files."""

from __future__ import annotations

from jobpush.adapter.command import CommandResult
from jobpush_adapters.sge.accounting import AccountingRecord, parse_accounting
from tests.service_process import ROOT
from tests.support import NOW

CAPTURES = ROOT / "tests" / "captures" / "sge"


def capture(name: str) -> CommandResult:
    """A recorded answer."""
    return CommandResult(0, (CAPTURES / name).read_bytes(), b"")


def line(number: int, failed: int = 0, status: int = 0, submitted: int = 100, task: int = 0, name: str = "x") -> bytes:
    """A line of the accounting file."""
    fields = f"all.q:vm:grp:kim:{name}:{number}:sge:0:{submitted}:{submitted + 1}:{int(NOW)}:{failed}:{status}:1".split(":")
    fields += ["0"] * (31 - len(fields)) + ["NONE", "dep", "NONE", "1", str(task), "0.1", "0", "0", "NONE", "0", "NONE", "0", "0", "0"]
    return ":".join(fields).encode()


def deletion(number: int, state: str = "", submitted: int = 100, by: str = "root", text: str = "job deleted") -> bytes:
    """A line of the reporting file."""
    return f"{int(NOW)}:job_log:{int(NOW)}:deleted:{number}:0:NONE:{state}:{by}:vm:0:1024:{submitted}:x:kim:grp::dep:sge:{text}".encode()


def slave(record: bytes, task: str = "1.vm") -> bytes:
    """The line as one of a parallel job's process; ``NONE`` is the whole job."""
    fields = record.split(b":")
    fields[33], fields[41] = b"mpi", task.encode()
    return b":".join(fields)


def accounting_record(text: bytes) -> AccountingRecord:
    """What a line is parsed as."""
    record = parse_accounting(text)
    assert record is not None
    return record
