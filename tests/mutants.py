"""
Whether the tests notice small faults: ``python -m tests.mutants``, or ``make mutants SEED=1 SAMPLE=200 MINUTES=20``.

A copy of the checkout is made for each worker. In one of them all unit tests run once, and it is noted which of them run
which line, and how long each takes. Then a sample of the faults (`tests.mutations`) is drawn with the seed, each is put into a
copy, and the tests that run its line are run, those of the module's own file and the quick ones first, until one fails. A test
that hangs counts as one that fails: it is ended by the clock.

The same seed draws the same faults in the same order, as long as the sources are the same. Faults that change nothing that
anybody could see are among those that are not noticed; they must be judged by a reader.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import attrs

from tests.mutations import Mutation, mutations

ROOT = Path(__file__).resolve().parent.parent

#: What faults are put into, unless the call says otherwise.
TARGETS = ("jobpush/core", "jobpush/events", "jobpush/polling", "jobpush/runtime", "jobpush/adapter", "adapters")

#: Not run: those that start the service as a process of its own, and those that judge the source text.
LEFT_OUT = ("tests/with_service", "tests/test_architecture.py", "tests/test_docs.py", "tests/test_mutants.py")

#: Seconds of tests (as they took without a fault) that are run for one fault; the slowest of the others' tests are left out.
MOST_S = 40.0

#: Seconds after which the tests of one fault are ended: so many times what they take without it, and some for the start.
TIMES, START_S, LONGEST_S = 3.0, 20.0, 100.0

PYTHONPATH = os.pathsep.join((".", "adapters", "client"))


@attrs.frozen
class Baseline:
    """
    What is known of the tests without a fault.

    :ivar seconds: how long each test takes, by its id.
    :ivar lines: by path and line: the ids of the tests that run it. A line that is only run by an import has an empty list.
    :ivar failed: the ids of tests that fail; they are not used.
    """

    seconds: Mapping[str, float]
    lines: Mapping[str, Mapping[int, Sequence[str]]]
    failed: Sequence[str]

    def of_mutation(self, path: str, mutation: Mutation) -> list[str]:
        """Return the tests that run the code of a mutation: for what an import runs, all that run anything of the module."""
        lines = self.lines.get(path, {})
        span = range(mutation.first, mutation.last + 1)
        tests = {test for line in span for test in lines.get(line, ())}
        if not tests and any(line in lines for line in span):
            tests = {test for found in lines.values() for test in found}
        return self._in_order(path, tests)

    def _in_order(self, path: str, tests: Iterable[str]) -> list[str]:
        """Those of the module's own file first, then the quick ones; no more than there is time for."""
        own = mirror(path) + "::"
        chosen, total = [], 0.0
        for test in sorted(tests, key=lambda test: (not test.startswith(own), self.seconds.get(test, 0.0), test)):
            total += self.seconds.get(test, 0.0)
            if chosen and total > MOST_S:
                break
            chosen.append(test)
        return chosen


@attrs.frozen
class Fault:
    """One mutation of one file."""

    path: str
    mutation: Mutation

    def __str__(self) -> str:
        return f"{self.path}:{self.mutation.line}"


@attrs.frozen
class Verdict:
    """
    What became of a fault.

    :ivar noticed: whether a test failed.
    :ivar by: the test that failed first, or why none was needed ("time", "import").
    :ivar tests: how many tests were to be run.
    """

    fault: Fault
    noticed: bool
    by: str
    tests: int


def mirror(path: str) -> str:
    """Return the test file of a module: ``jobpush/core/diff.py`` has ``tests/core/test_diff.py``."""
    parts = list(Path(path).parts)
    if parts[0] == "jobpush":
        parts = parts[1:]
    elif parts[0] == "adapters":
        parts = ["adapters", *parts[2:]]
    elif parts[0] == "client":
        parts = ["client", *parts[2:]]
    return "/".join(["tests", *parts[:-1], f"test_{parts[-1]}"])


# -- copies of the checkout


def checkout_files() -> list[str]:
    """Return the paths of the checkout's files, changed and new ones too."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    return [path for path in sorted(listed.stdout.decode().split("\0")) if path and (ROOT / path).is_file()]


def copy_checkout(files: Iterable[str], to: Path) -> None:
    """Copy these files of the checkout."""
    for path in files:
        (to / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, to / path)


def environment() -> dict[str, str]:
    """Return the environment of the tests: what Hypothesis draws is always the same, and no byte code is written."""
    return {**os.environ, "PYTHONPATH": PYTHONPATH, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}


# -- the tests without a fault


def baseline(files: Sequence[str], copy: Path, cache: Path) -> Baseline:
    """Return which tests run which lines; measured once for the same sources."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.encode() + b"\0" + (ROOT / path).read_bytes() + b"\0")
    kept = cache / f"baseline-{digest.hexdigest()[:16]}.json"
    if not kept.exists():
        print("running the tests without a fault, to see which of them run which lines", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "tests.mutants", "--measure", str(kept)], cwd=copy, env=environment(), capture_output=True, text=True
        )
        if not kept.exists():
            raise SystemExit(f"the tests could not be run:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    fields = json.loads(kept.read_text())
    ids = fields["tests"]
    lines = {path: {int(n): [ids[i] for i in tests] for n, tests in found.items()} for path, found in fields["lines"].items()}
    return Baseline(fields["seconds"], lines, fields["failed"])


def measure(to: Path) -> None:
    """Run all unit tests under coverage, a context for each test, and write down what they ran."""
    import coverage
    import pytest

    os.environ["COVERAGE_CORE"] = "ctrace"
    measured = coverage.Coverage(data_file=None, source=["jobpush", "adapters", "client"], branch=False, config_file=False)
    watch = _Watch(measured)
    measured.start()
    # Hypothesis is imported already, by the package `tests`.
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    pytest.main([*options, "tests", *(f"--ignore={path}" for path in LEFT_OUT)], plugins=[watch])
    measured.stop()
    data = measured.get_data()
    ids = sorted(set(watch.seconds) - watch.failed)
    number = {test: place for place, test in enumerate(ids)}
    here = Path.cwd().resolve()
    lines: dict[str, dict[int, list[int]]] = {}
    for file in data.measured_files():
        contexts = data.contexts_by_lineno(file)
        lines[str(Path(file).resolve().relative_to(here))] = {
            line: sorted(number[test] for test in tests if test in number) for line, tests in contexts.items()
        }
    fields = {"tests": ids, "seconds": watch.seconds, "failed": sorted(watch.failed), "lines": lines}
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(fields))


class _Watch:
    """A plugin of pytest that tells coverage which test runs, and notes how long each takes."""

    def __init__(self, measured: Any) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self._measured = measured

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._measured.switch_context(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._measured.switch_context("")

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)


# -- one fault


def judge(fault: Fault, tests: Sequence[str], known: Baseline, copy: Path) -> Verdict:
    """Put a fault into a copy, run the tests, and take it out again."""
    if not tests:
        return Verdict(fault, False, "no test runs it", 0)
    path = copy / fault.path
    source = path.read_bytes()
    path.write_bytes(fault.mutation.apply(source))
    try:
        noticed, by = run(tests, known, copy)
    finally:
        path.write_bytes(source)
    return Verdict(fault, noticed, by, len(tests))


def run(tests: Sequence[str], known: Baseline, copy: Path) -> tuple[bool, str]:
    """Run these tests in a copy; whether one fails, and which."""
    took = [known.seconds.get(test, 0.0) for test in tests]
    limit = min(LONGEST_S, START_S + TIMES * sum(took))
    each = min(LONGEST_S / 2, 5.0 + 2 * TIMES * max(took))
    names = copy / ".mutants-tests"
    names.write_text("".join(f"{test}\n" for test in tests))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no", f"--timeout={each:g}"]
    process = subprocess.Popen(
        [*command, f"@{names}"], cwd=copy, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return True, f"more than {limit:.0f} s"
    finally:
        _end(process)
    failed = [line for line in output.decode("utf-8", "replace").splitlines() if line.startswith(("FAILED", "ERROR"))]
    if process.returncode == 0:
        return False, ""
    return True, failed[0].split(" - ")[0].partition(" ")[2] if failed else "the start"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the tests and all that they have started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


# -- all of them


def faults(targets: Sequence[str], files: Sequence[str]) -> list[Fault]:
    """Return the faults that can be put into these files, or into the line that ``PATH:LINE`` names."""
    found = []
    for target in targets:
        place, _, line = target.partition(":")
        for path in files:
            if path.endswith(".py") and (path == place or path.startswith(f"{place.rstrip('/')}/")):
                for mutation in mutations((ROOT / path).read_bytes()):
                    if not line or mutation.first <= int(line) <= mutation.last:
                        found.append(Fault(path, mutation))
    return found


def verdicts(sample: Sequence[Fault], known: Baseline, copies: Sequence[Path], until: float) -> Iterator[Verdict]:
    """Judge the faults, in their order, in all copies at once; no new one after that time (``time.monotonic()``)."""
    waiting: Queue[Fault] = Queue()
    for fault in sample:
        waiting.put(fault)
    done: Queue[Verdict | None] = Queue()

    def work(copy: Path) -> None:
        try:
            while time.monotonic() < until:
                fault = waiting.get_nowait()
                done.put(judge(fault, known.of_mutation(fault.path, fault.mutation), known, copy))
        except Empty:
            pass
        finally:
            done.put(None)

    workers = [threading.Thread(target=work, args=(copy,), daemon=True) for copy in copies]
    for worker in workers:
        worker.start()
    for _ in workers:
        while (verdict := done.get()) is not None:
            yield verdict


def table(found: Sequence[Verdict]) -> str:
    """Return what was noticed, module by module, and each fault that was not."""
    made, noticed, by_time = (Counter[str]() for _ in range(3))
    for verdict in found:
        made[verdict.fault.path] += 1
        noticed[verdict.fault.path] += verdict.noticed
        by_time[verdict.fault.path] += verdict.noticed and verdict.by.startswith("more than")
    lines = [f"{'module':<52} {'faults':>7} {'noticed':>8} {'by time':>8} {'not':>5}"]
    for path in sorted(made):
        lines.append(f"{path:<52} {made[path]:>7} {noticed[path]:>8} {by_time[path]:>8} {made[path] - noticed[path]:>5}")
    total, seen = sum(made.values()), sum(noticed.values())
    lines.append(f"{'all':<52} {total:>7} {seen:>8} {sum(by_time.values()):>8} {total - seen:>5}")
    if total:
        lines.append(f"noticed: {100 * seen / total:.1f} %")
    missed = sorted((v for v in found if not v.noticed), key=lambda v: (v.fault.path, v.fault.mutation))
    if missed:
        lines += ["", "not noticed (in brackets: how many tests were run):"]
        lines += [f"{verdict.fault} [{verdict.tests}]  {verdict.fault.mutation.change}" for verdict in missed]
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="tests.mutants", description="Whether the tests notice small faults.")
    parser.add_argument("targets", nargs="*", default=TARGETS, help="files, folders, or PATH:LINE; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the sample; default: %(default)s")
    parser.add_argument("--sample", type=int, default=200, help="how many faults; 0 for all; default: %(default)s")
    parser.add_argument("--minutes", type=float, default=20.0, help="after which no fault is begun; default: %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once; default: one a core")
    parser.add_argument("--cache", type=Path, default=ROOT / ".venv" / "mutants", help="where the first run's result is kept")
    parser.add_argument("--verbose", action="store_true", help="say of each fault what noticed it")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        measure(options.measure)
        return
    files = checkout_files()
    all_faults = faults(options.targets, files)
    if not all_faults:
        parser.error(f"nothing to change in {', '.join(options.targets)}")
    chance = random.Random(options.seed)
    sample = chance.sample(all_faults, min(options.sample or len(all_faults), len(all_faults)))
    with tempfile.TemporaryDirectory(prefix="jobpush-mutants-") as directory:
        copies = [Path(directory).resolve() / str(number) for number in range(options.jobs)]
        for copy in copies:
            copy_checkout(files, copy)
        known = baseline(files, copies[0], options.cache.resolve())
        for test in known.failed:
            print(f"fails without a fault, and is left out: {test}")
        print(f"{len(sample)} of {len(all_faults)} faults, seed {options.seed}", flush=True)
        found: list[Verdict] = []
        for verdict in verdicts(sample, known, copies, time.monotonic() + 60 * options.minutes):
            found.append(verdict)
            if options.verbose or not verdict.noticed:
                word = f"noticed by {verdict.by}" if verdict.noticed else "NOT NOTICED"
                print(f"{verdict.fault} [{verdict.tests}] {word}: {verdict.fault.mutation.change}", flush=True)
    if len(found) < len(sample):
        print(f"the time was up after {len(found)} of {len(sample)}")
    print(table(found))


if __name__ == "__main__":
    main()
