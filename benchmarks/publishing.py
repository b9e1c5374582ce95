"""
What it costs to publish changes, and what a known job takes in memory: ``python -m benchmarks.publishing [--jobs 100000]``.

No network, no scheduler, no reactor: rows of squeue as they were recorded, or lines of a jobs file, are read, compared,
numbered, written to a journal on disk and published in one process. What is measured is the least of several rounds, in CPU of
the process: the machine is shared with others.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import tempfile
import time
import timeit
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jobpush.core import wire
from jobpush.core.absence import NOTHING_ASKED, DiffPolicy
from jobpush.core.diff import diff
from jobpush.core.model import JobDescriptor, Snapshot
from jobpush.core.record import Change
from jobpush.core.wire import jobs as job_encoding
from jobpush_adapters.slurm.squeue import parse_row
from tests.support import NOW, Lab

CLUSTER = "bench"


def recorded(number: int, reason: str = "Priority") -> JobDescriptor:
    """A row of squeue, as `benchmarks.ticks` has it, read."""
    plain = f"{number}|{number}|PENDING|0|main||1795327000|N/A|N/A|1:00:00|0|kim"
    free = [reason, "physics", "/home/kim/work/of/today", "", f"nnnnnnnnnnnnnnnnnnnn{number}"]
    return parse_row(CLUSTER, "\0".join([plain, *free]).encode(), NOW)


def of_a_file(number: int, reason: str = "") -> JobDescriptor:
    """A line of a jobs file, read: a third of the jobs wait, a third run, a third have ended."""
    fields = {
        "id": str(number), "name": f"align-{number}", "user": f"user{number % 50}", "account": f"project{number % 20}",
        "queue": "batch", "workdir": f"/home/user{number % 50}/work", "state": ("QUEUED", "RUNNING", "COMPLETED")[number % 3],
        "submitted_at": f"2026-11-22T05:{number // 60 % 60:02}:{number % 60:02}Z",
    }  # fmt: skip
    if number % 3:
        fields |= {"started_at": f"2026-11-22T05:59:{number % 60:02}Z", "nodes": f"n{number % 200:03}"}
    return wire.job_from_fields(json.loads(json.dumps(fields)), CLUSTER)


@contextmanager
def service() -> Iterator[Lab]:
    """A service with a journal on disk, whose time stands still."""
    directory = tempfile.mkdtemp(prefix="jobpush-bench-")
    lab = Lab(os.path.join(directory, "state"))
    lab.service.table.load(lab.journal.open())
    try:
        yield lab
    finally:
        lab.journal.close()
        shutil.rmtree(directory)


def publish(lab: Lab, jobs: dict[str, JobDescriptor], first: bool = False) -> float:
    """Seconds of CPU that it takes to compare these with what is known, and to publish what comes of it."""
    snapshot = Snapshot(jobs, NOW, NOW)
    policy = DiffPolicy(task_id=lambda array, index: f"{array}_{index}", first=first)
    done: list[Any] = []
    gc.collect()
    began = time.process_time()
    lab.service.publisher.apply(CLUSTER, lambda known: diff(known, snapshot, NOTHING_ASKED, policy, NOW)).addBoth(done.append)
    while not done:
        lab.clock.advance(0)
    took = time.process_time() - began
    assert isinstance(done[0], list), done[0]
    return took


def many(count: int, make: Callable[..., JobDescriptor] = recorded, **fields: Any) -> dict[str, JobDescriptor]:
    """So many jobs, by id."""
    return {str(number): make(number, **fields) for number in range(1, count + 1)}


def encoding() -> float:
    """Microseconds to encode a job."""
    job = recorded(1)
    return min(timeit.repeat(lambda: wire.job_bytes(job), number=100, repeat=500)) / 100 * 1e6


def numbering(count: int) -> float:
    """Microseconds to number and encode one of so many events."""
    changes = [Change(job, None, NOW) for job in many(count).values()]
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        for seq, change in enumerate(changes, 1):
            wire.number("0123456789abcdef", seq, change)
        best = min(best, time.process_time() - began)
    return best / count * 1e6


def tick(count: int, rounds: int = 10) -> float:
    """Microseconds for each job of a tick in which so many change."""
    with service() as lab:
        looks = [many(count), many(count, reason="JobHeldUser")]
        publish(lab, looks[0], first=True)
        return min(publish(lab, looks[number % 2]) for number in range(1, rounds)) / count * 1e6


def first_look(count: int) -> tuple[float, float]:
    """Microseconds for each job of a first look: to read its row, and to publish it."""
    began = time.process_time()
    jobs = many(count)
    read = time.process_time() - began
    with service() as lab:
        return read / count * 1e6, publish(lab, jobs, first=True) / count * 1e6


def memory(count: int, make: Callable[..., JobDescriptor]) -> float:
    """Bytes of a known job: its descriptor, its record with history, its places in the table's indexes and in the snapshot."""
    with service() as lab:
        lab.service.tail._capacity = 0
        gc.collect()
        tracemalloc.start()
        jobs = many(count, make)
        publish(lab, jobs, first=True)
        del lab.service.tail._events[:]
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return taken / count


def main() -> None:
    """Measure, and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=100_000, help="how many jobs are known (default: 100000)")
    parser.add_argument("--changes", type=int, default=10_000, help="how many change in a tick (default: 10000)")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {options.jobs} jobs\n")
    print("| what | without orjson | with orjson |\n|---|---|---|")
    fast = job_encoding.fast_dumps

    def row(what: str, measure: Callable[[], float], unit: str = "µs") -> None:
        found = []
        for dumps in (None, fast) if fast is not None else (None,):
            job_encoding.fast_dumps = dumps
            found.append(f"{measure():.1f} {unit}")
        print(f"| {what} | {' | '.join(found)} |", flush=True)

    row("to encode a job", encoding)
    row(f"to number and encode one of {options.jobs} events", lambda: numbering(options.jobs))
    row(f"a tick in which {options.changes} jobs change, for each", lambda: tick(options.changes))
    row("a first look, for each job: to publish it", lambda: first_look(options.jobs)[1])
    read, _ = first_look(options.jobs)
    print(f"| a first look, for each job: to read its row | {read:.1f} µs | |")
    for what, make in (("a row of squeue", recorded), ("a line of a jobs file", of_a_file)):
        print(f"| a known job of {what}, in memory | {memory(options.jobs, make):.0f} bytes | |", flush=True)


if __name__ == "__main__":
    main()
