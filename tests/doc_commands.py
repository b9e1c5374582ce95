"""
What stands in for ``twistd``, ``jobpush``, ``curl`` and ``python`` while blocks of the documentation run: the same commands, of this
checkout, with the port of the test in place of 8080, and an end to what would run until somebody stops it.

    DOCUMENT_PORT=40123 python -m tests.doc_commands curl -s localhost:8080/v1/jobs
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from tests.fakes import Programs
from tests.service_process import twistd_environment

#: Seconds for which a request is held at most. One that begins after a cursor may have nothing to tell: it is let go sooner.
ANSWER_S, HELD_S = 100, 8

#: Seconds within which what goes on until it is stopped has said something.
SAYS_S = 60


def install(directory: str) -> str:
    """Make a directory of the stand-ins, to be put before all others on PATH; returns its path."""
    programs = Programs(directory)
    for name in COMMANDS:
        programs.write(name, f'#!/bin/sh\nexec {sys.executable} -m tests.doc_commands {name} "$@"\n')
    return str(programs.directory)


def environment(port: int, programs: str, service: str) -> dict[str, str]:
    """
    Return the environment of a reader's shell.

    :param port: that of the service.
    :param programs: the directory that `install` has made.
    :param service: where the process id of a service is written that a block starts.
    """
    base = twistd_environment(None)
    return {
        **base, "PATH": programs + os.pathsep + base.get("PATH", os.defpath), "USER": "kim", "TERM": "xterm",
        "DOCUMENT_PORT": str(port), "DOCUMENT_SERVICE": service, "JOBPUSH_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip


def twistd(arguments: list[str]) -> int:
    """``twistd``; a jobpush that it starts listens on the port."""
    from twisted.scripts.twistd import run

    if "--nodaemon" in arguments and "jobpush" in arguments:
        with open(os.environ["DOCUMENT_SERVICE"], "w") as file:
            file.write(str(os.getpid()))
        if "--port" in arguments:
            place = arguments.index("--port") + 1
            arguments[place] = arguments[place].replace("8080", os.environ["DOCUMENT_PORT"])
        else:
            arguments += ["--port", os.environ["DOCUMENT_PORT"]]
    sys.argv = ["twistd", *arguments]
    run()
    return 0


def jobpush(arguments: list[str]) -> int:
    """``jobpush``; what follows changes is ended when it has printed something."""
    command = [sys.executable, "-m", "jobpush_client.cli", *arguments]
    if arguments[:1] in (["tail"], ["watch"]):
        return until_it_says(command, b"\n")
    return subprocess.call(command)


def python(arguments: list[str]) -> int:
    """``python``, the one that runs the tests."""
    return subprocess.call([sys.executable, *arguments])


def curl(arguments: list[str]) -> int:
    """``curl``, with a status other than 0 for an error of the server; a stream ends when an event has come."""
    program = next(path for path in _real("curl"))
    command = [program, "--connect-to", f"localhost:8080:127.0.0.1:{os.environ['DOCUMENT_PORT']}", "--fail-with-body"]
    if any(word.startswith("-") and not word.startswith("--") and "N" in word for word in arguments):
        return until_it_says([*command, *arguments], b"data:")
    may_be_held = any("since" in word for word in arguments)
    limit = HELD_S if may_be_held else ANSWER_S
    status = subprocess.call([*command, "--max-time", str(limit), *arguments])
    return 0 if may_be_held and status == 28 else status


def _real(name: str) -> Sequence[str]:
    """The paths of a command along PATH, but for the stand-in."""
    own = os.environ["PATH"].partition(os.pathsep)[0]
    paths = [os.path.join(place, name) for place in os.environ["PATH"].split(os.pathsep) if place != own]
    return [path for path in paths if os.access(path, os.X_OK)]


def until_it_says(command: Sequence[str], expected: bytes) -> int:
    """Run a command on a terminal until it has printed this and pauses, then end it; the exit status, 0 if it has."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=inside, stderr=inside)
    os.close(inside)
    said = b""
    until = time.monotonic() + SAYS_S
    try:
        while time.monotonic() < until:
            if select.select([terminal], [], [], 0.5)[0]:
                said += os.read(terminal, 65536)
            elif expected in said:  # what comes at once has come
                break
    except OSError:  # it has ended (pty(7))
        pass
    process.terminate()
    try:
        process.wait(10)
    finally:
        process.kill()
        sys.stdout.write(said.decode(errors="replace"))
        sys.stdout.flush()
    return 0 if expected in said else process.returncode or 1


COMMANDS: Mapping[str, Callable[[list[str]], int]] = {"twistd": twistd, "jobpush": jobpush, "curl": curl, "python": python}

if __name__ == "__main__":
    sys.exit(COMMANDS[sys.argv[1]](sys.argv[2:]))

