"""Blocks of the documentation, run as a reader would type them: one shell for those of a page, in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.documents import Block
from tests.service_process import ServiceProcess

#: What a shell does besides: it notes each command that fails. The exit status of ``jobpush wait`` and ``submit`` is a job's.
BEGIN = """\
set -E -o pipefail
failed() {
    case "$1 $BASH_COMMAND" in
        2\\ *|12[4-7]\\ *|130\\ *|24[0-2]\\ *) ;;
        *\\ "jobpush wait"*|*\\ "jobpush submit"*) return ;;
        143\\ "twistd "*) return ;;  # it was stopped
    esac
    echo "$BLOCK: status $1: $BASH_COMMAND" >>failures
}
trap 'failed $?' ERR
"""

#: At the end: what still runs in the background comes to its end, but for the service.
END = """\
for job in $(jobs -p); do
    BLOCK=${begun[$job]:-a job in the background}
    [ "$job" = "$(cat "$DOCUMENT_SERVICE" 2>/dev/null)" ] || wait "$job"
done
exit 0
"""

#: After a command that is left in the background: a service answers, or whatever else it is has begun.
AFTER_SERVICE = """\
for attempt in $(seq 100); do curl -s -o /dev/null localhost:8080/healthz && break; sleep 0.1; done
curl -s -o /dev/null localhost:8080/healthz
"""
AFTER_BACKGROUND = "sleep 1\n"

#: Seconds that the blocks of a page may take.
PAGE_S = 240.0

_SERVICE = re.compile(r"^twistd .*--nodaemon", re.MULTILINE)


def serves(block: Block) -> bool:
    """Return whether a block starts a service of its own."""
    return any(_SERVICE.search(command) for command in block.commands)


def script(blocks: Sequence[Block]) -> str:
    """Return a script of bash that runs these blocks, one after another."""
    parts = [BEGIN]
    for block in blocks:
        parts.append(f"BLOCK={block.name}\n")
        for command in block.commands:
            parts.append(command)
            if command.rstrip().endswith("&"):
                parts.append("begun[$!]=$BLOCK\n")
                parts.append(AFTER_SERVICE if _SERVICE.search(command) else AFTER_BACKGROUND)
    return "".join([*parts, END])


def run(
    blocks: Sequence[Block], directory: Path, environment: Mapping[str, str], meanwhile: Callable[[], None] = lambda: None
) -> str:
    """
    Run blocks in a directory; return what they have printed.

    :param environment: what `tests.doc_commands.environment` has made.
    :param meanwhile: called when a service that the last block runs in the foreground answers; after it the service is stopped.
    :raise AssertionError: with what failed, and what was printed.
    """
    (directory / "script").write_text(script(blocks))
    with open(directory / "printed", "w") as printed:
        shell = subprocess.Popen(
            ["bash", str(directory / "script")], cwd=directory, env=dict(environment), stdin=subprocess.DEVNULL,
            stdout=printed, stderr=printed, start_new_session=True,
        )  # fmt: skip
    in_foreground = serves(blocks[-1]) and not blocks[-1].commands[-1].rstrip().endswith("&")
    try:
        if in_foreground:
            wait_for_service(shell, int(environment["DOCUMENT_PORT"]))
            meanwhile()
            os.kill(int(Path(environment["DOCUMENT_SERVICE"]).read_text()), signal.SIGTERM)
        shell.wait(PAGE_S)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        raise AssertionError(f"{error}\n{(directory / 'printed').read_text(errors='replace')}") from None
    finally:
        stop(shell)
    said = (directory / "printed").read_text(errors="replace")
    failures = (directory / "failures").read_text() if (directory / "failures").exists() else ""
    if failures or shell.returncode != 0:
        raise AssertionError(f"{failures}status {shell.returncode}\n{said}")
    return said


def wait_for_service(shell: subprocess.Popen[bytes], port: int, seconds: float = 60.0) -> None:
    """Return when a service on this port answers; fails if the shell ends before."""
    service = ServiceProcess(Path())
    service.port = port
    until = time.monotonic() + seconds
    while time.monotonic() < until and shell.poll() is None:
        try:
            if service.get("/healthz", timeout=5).status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("the service does not answer")


def stop(shell: subprocess.Popen[bytes]) -> None:
    """End a shell and all that it has started: in order, and after two seconds by force."""
    until = time.monotonic() + 2
    number = signal.SIGTERM
    try:
        while True:
            os.killpg(shell.pid, number)
            shell.poll()
            time.sleep(0.05)
            number = signal.SIGTERM if time.monotonic() < until else signal.SIGKILL
    except ProcessLookupError:  # there is nobody left
        shell.wait(10)
