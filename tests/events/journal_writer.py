"""
Write journals, and print what they acknowledged: run by the tests of failing system calls, under strace.

``python -m tests.events.journal_writer DIRECTORY CALL COUNT NUMBER…``. A batch that failed is written again, as other events under the same
numbers, at most five times. Each line is a number and the job of the event that was acknowledged under it, or ``failed``.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from jobpush.core import wire
from jobpush.core.model import JobDescriptor, split_state
from jobpush.core.record import UNSEEN, Change, Record
from jobpush.events.interfaces import JournalError
from jobpush.events.journal import Retention, SQLiteJournal
from tests.support import NOW, StepThreads

#: Batches, and events of one; few are kept, so that old ones are removed while it runs.
BATCHES, BATCH, RETENTION = 8, 20, Retention(events=60)


def write(journal: SQLiteJournal, name: str) -> list[str]:
    """Write a batch; return the lines of what became of it."""
    phase, outcome = split_state("RUNNING")
    events = []
    for place in range(1, BATCH + 1):
        job = JobDescriptor("c", f"{name}-{place}", phase=phase, outcome=outcome, comment="x" * 500)
        events.append(wire.number(journal.epochs.current, journal.last_seq + place, Change(job, None, NOW)))
    results: list[object] = []
    committed = journal.commit(events, [Record(event.subject, UNSEEN, last_seq=event.seq) for event in events], [])
    committed.addBoth(results.append)
    if results == [None]:
        return [f"{event.seq} {event.key[1]}" for event in events]
    if results and results[0].check(JournalError):  # type: ignore[attr-defined]
        return ["failed"]
    raise AssertionError(results)


def run(directory: str) -> None:
    """Write a journal in that directory."""
    try:
        journal = SQLiteJournal(StepThreads(), directory, RETENTION, clock=lambda: NOW)  # type: ignore[arg-type]
        journal.open()
    except JournalError as error:
        print(f"not opened: {error}")
        return
    for batch in range(BATCHES):
        for attempt in range(5):
            lines = write(journal, f"{batch}.{attempt}")
            print("\n".join(lines))
            if lines != ["failed"]:
                break
    journal.close()


def main(directory: str, call: str, count: int, *numbers: int) -> None:
    """
    For each of these numbers: write a journal in a process of its own, whose system call of that number fails.

    :param count: the call that fails, counted from the process's first.
    """
    unnoticed: Callable[[int], object] = {"pwrite64": lambda fd: os.pwrite(fd, b".", 0), "fdatasync": os.fdatasync}[call]
    for number in numbers:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            continue
        place = os.path.join(directory, str(number))
        os.mkdir(place)
        scratch = os.open(os.path.join(place, "scratch"), os.O_RDWR | os.O_CREAT)
        for _ in range(count - number):
            unnoticed(scratch)
        os.dup2(os.open(os.path.join(place, "output"), os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(1, 2)
        try:
            run(os.path.join(place, "state"))
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
