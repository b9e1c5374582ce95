"""
The load generator of the benchmarks, as Python uses it.

The generator itself is a program in C (`load.c`, which also describes the orders that it takes): it must need less time for an
answer than the servers that are measured. It is compiled at its first use, with the C compiler of the machine, into
``build/benchmarks``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parent.parent

#: No run holds more connections than this. `load.c` has the same bound.
MOST_CONNECTIONS = 60_000

SOURCE = Path(__file__).resolve().parent / "load.c"
PROGRAM = ROOT / "build" / "benchmarks" / "load"


@attrs.frozen
class Cores:
    """
    Which cores the server runs on, and which the generator and the benchmark itself.

    :ivar server: the numbers of the server's cores.
    :ivar load: those of the generator's.
    """

    server: frozenset[int]
    load: frozenset[int]

    @classmethod
    def apart(cls, allowed: set[int]) -> Cores:
        """Return the last core for the generator and all others for the server; with one core both share it."""
        last = frozenset({max(allowed)})
        return cls(frozenset(allowed) - last or last, last)

    def __str__(self) -> str:
        server, load = (", ".join(map(str, sorted(cores))) for cores in (self.server, self.load))
        return f"server and load on core {load}" if server == load else f"server on core {server}, load on core {load}"


#: How the cores that this process may use are divided.
CORES = Cores.apart(os.sched_getaffinity(0))


@contextmanager
def started_on(cores: frozenset[int]) -> Iterator[None]:
    """Processes that are started meanwhile run on these cores, with all their threads and children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class CannotCompile(Exception):
    """There is no load generator, and why."""


def compiled(source: Path = SOURCE, program: Path = PROGRAM) -> Path:
    """
    Compile the generator unless that has been done since its source was changed; return the path of the program.

    :raise CannotCompile: there is no C compiler, or it fails.
    """
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    named = os.environ.get("CC")
    compiler = next(filter(None, map(shutil.which, [named] if named else ["cc", "gcc", "clang"])), None)
    if compiler is None:
        wanted = named or "cc, gcc or clang"
        raise CannotCompile(f"no C compiler ({wanted}) is on PATH; on Debian: apt-get install gcc libc6-dev")
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as directory:
        fresh = Path(directory) / "load"
        result = subprocess.run(
            [compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(source)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode != 0:
            why = result.stderr[-2000:]
            raise CannotCompile(f"{compiler} cannot compile {source.name} (on Debian it needs libc6-dev):\n{why}")
        os.replace(fresh, program)
    return program


def why_not() -> str | None:
    """Return why there can be no load generator on this machine, or None."""
    try:
        compiled()
    except CannotCompile as error:
        return f"no load generator: {error}"
    return None


class Load:
    """
    The load generator as a process of its own.

    :param cores: those that it runs on.
    """

    def __init__(self, cores: Cores = CORES) -> None:
        try:
            program = compiled()
        except CannotCompile as error:
            raise SystemExit(f"no load generator: {error}") from None
        with started_on(cores.load):
            self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, what: str, **fields: object) -> dict[str, Any]:
        """Give an order and return what came of it."""
        self.begin(what, **fields)
        return self.end()

    def begin(self, what: str, **fields: object) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **fields}) + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """
        Wait until the order has been carried out, and return what came of it.

        :raise SystemExit: it could not be carried out.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the load generator has ended")
        answer: dict[str, Any] = json.loads(line)
        if "wrong" in answer:
            raise SystemExit(f"the load generator: {answer['wrong']}")
        return answer

    def stop(self, seconds: float = 30.0) -> int:
        """
        End the process, and return its exit status.

        :raise subprocess.TimeoutExpired: it has not ended within so many seconds.
        """
        assert self._process.stdin is not None
        with self._process:
            self._process.stdin.close()
            try:
                return self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise
