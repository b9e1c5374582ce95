"""
The code blocks of the documentation, run as they are written: those for the shell against the demonstration, a page's in one
shell and in order; those that need a real Slurm against one; all programs in Python. What else a block may need is not here:
such blocks are skipped, each by its name and with what it needs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from tests import doc_commands, doc_shell
from tests.documents import Block, all_blocks, write_files
from tests.service_process import ROOT, ServiceProcess, twistd_environment, write_jobs
from tests.slurm_cluster import SlurmCluster, free_ports, wait_until
from tests.test_docs import PAGES_OF_PROGRAMS

pytestmark = [pytest.mark.service, pytest.mark.timeout(400)]

SHELL = [block for block in all_blocks() if block.language == "sh"]

#: Those against the demonstration, and those that start a service themselves.
PLAIN = [block for block in SHELL if not block.needs and not doc_shell.serves(block)]
SERVING = [block for block in SHELL if not block.needs and doc_shell.serves(block)]

#: Those against a real Slurm.
SLURM = [block for block in SHELL if block.needs == ("slurm",)]

#: Those where a service's socket is that says who asks.
SOCKET = [block for block in SHELL if block.needs == ("socket",)]

#: Of the programs in Python, those that a test below runs, by page; `tests.test_docs` runs those of the other pages.
PROGRAMS = ("docs/python.md", "docs/workflows.md", "README.md")

LISTED = [block for block in all_blocks() if block.needs and block not in (*SLURM, *SOCKET)]

#: What a reader finds in the output, as patterns.
ENDED = r"(COMPLETED|FAILED|TIMEOUT|OUT_OF_MEMORY|CANCELLED)"
PRINTED = {
    "README.md": [r"event: job\b"],
    "docs/guide.md": [rf"mock/\S+ {ENDED} ", r"\nhistory\n", r'"phase":"DONE"'],
    "docs/protocol.md": [r'"events":\[\{', r'"phase":"DONE"'],
    "docs/workflows.md": [r'"done":true', r'"name":"w7"', r"event: workflow\b"],
    "docs/security.md": [r"not known by the name evil\.example", r'"clusters":\['],
    "docs/writing-an-adapter.md": [r"PASSED \(successes=2[0-9]\)"],
}
PRINTED_WITH_SOCKET = {
    "docs/identity.md": [
        r"mock/4711 COMPLETED", r'"user":"root"', r": a token for http://localhost:8080 until \S+ \(metrics, nudge, read, watch, workflow\), kept in ",
        r"\njp_\S{40,}\n", r"  until \S+  read  ",
    ],
}  # fmt: skip
PRINTED_BY_SERVICE = {
    "README.md": [r'"state":"COMPLETED"'],
    "docs/embedding.md": [r"job mock/\d+\S* QUEUED -> \w+ user="],
    "docs/operations.md": [r'\{"time": "2'],
    "docs/writing-an-adapter.md": [r"lsq +an imaginary scheduler", r"lsq"],
}
PRINTED_WITH_SLURM = {
    "README.md": [r'"exit_code":3', r'"done":true', r'"name":"align@root"'],
    "docs/guide.md": [r"slurm/\d+ COMPLETED"],
    "docs/integrations.md": [r"(slurm/\d+ COMPLETED exit 0.*\n){3}"],
}


def test_every_block_is_run_or_listed() -> None:
    """None is forgotten: each is run by one of these tests or by tests/test_docs.py, or is listed with what it needs."""
    run = [*PLAIN, *SERVING, *SLURM, *SOCKET, *LISTED]
    others = [block for block in all_blocks() if block.language != "sh" and not block.needs]
    assert sorted(block.name for block in (*run, *others)) == sorted(block.name for block in all_blocks())
    in_python = {block.page for block in others if block.language in ("python", "pycon")}
    assert in_python == {*PROGRAMS, *PAGES_OF_PROGRAMS}


@pytest.mark.parametrize("page", sorted({block.page for block in PLAIN}))
def test_against_the_demonstration(page: str, tmp_path: Path) -> None:
    """The blocks of a page succeed, and print what a reader would expect."""
    some = of(page, PLAIN)
    need_tools(some)
    service = ServiceProcess(tmp_path / "service", "--queue", "mock")
    service.start()
    try:
        service.ready()
        more = adapter_files(page, tmp_path)
        check(PRINTED[page], doc_shell.run(some, tmp_path, environment(tmp_path, service.port, **more)))
    finally:
        service.stop()


@pytest.mark.parametrize("block", SERVING, ids=lambda block: block.name)
def test_service(block: Block, tmp_path: Path) -> None:
    """A block that starts a service by itself: it answers, and what else is typed succeeds."""
    need_tools([block])
    port = free_ports(1)[0]
    patterns = PRINTED_BY_SERVICE.get(block.page, [])
    more = adapter_files(block.page, tmp_path)

    def meanwhile() -> None:
        if block.page == "docs/python.md":
            run_python_page(port)
        printed = tmp_path / "printed"
        wait_until(lambda: all(re.search(pattern, printed.read_text()) for pattern in patterns), 60)

    check(patterns, doc_shell.run([block], tmp_path, environment(tmp_path, port, **more), meanwhile))


@pytest.mark.slurm
@pytest.mark.parametrize("page", sorted({block.page for block in SLURM}))
def test_with_slurm(page: str, slurm: SlurmCluster, short_path: Path) -> None:
    """What needs no more than a Slurm to submit to, with one."""
    some = of(page, SLURM)
    need_tools(some)
    directory = short_path / page.replace("/", "-")
    service = ServiceProcess(directory / "service", "--queue", f"slurm:conf={slurm.conf}:interval=0.5:reconcile=0.5")
    service.start()
    try:
        service.ready()
        for name in ("align.sh", "report.sh"):
            (directory / name).write_text("#!/bin/sh\nexec sleep 1\n")
        check(
            PRINTED_WITH_SLURM[page],
            doc_shell.run(some, directory, environment(directory, service.port, SLURM_CONF=str(slurm.conf), USER="root")),
        )
    finally:
        service.stop()


@pytest.mark.parametrize("page", sorted({block.page for block in SOCKET}))
def test_with_a_socket(page: str, short_path: Path) -> None:
    """What is typed by a user whom the socket of his host's service knows."""
    directory = short_path / page.replace("/", "-")
    users = directory / "jobpush.sock"
    directory.mkdir()
    write_jobs(directory / "jobs", '{"id": "4711", "user": "root", "state": "COMPLETED", "exit_code": 0}\n')
    service = ServiceProcess(
        directory / "service", "--queue", f"mock:file={directory / 'jobs'}", "--private", "yes", "--socket", f"unix:{users}"
    )
    service.start()
    try:
        service.ready()
        some = [
            attrs.evolve(block, text=block.text.replace("/run/jobpush/jobpush.sock", str(users))) for block in of(page, SOCKET)
        ]
        where = {"JOBPUSH_URL": f"unix:{users}", "HOME": str(directory)}
        check(PRINTED_WITH_SOCKET[page], doc_shell.run(some, directory, environment(directory, service.port, **where)))
    finally:
        service.stop()


def test_readme_in_python(tmp_path: Path) -> None:
    """The README's dialogue with Python, where there is a job of that name."""
    write_jobs(tmp_path / "jobs", '{"id": "4711", "state": "COMPLETED", "exit_code": 0}\n')
    service = ServiceProcess(tmp_path / "service", "--queue", f"mock:cluster=slurm:file={tmp_path / 'jobs'}")
    service.start()
    try:
        service.ready()
        for block in of("README.md", [block for block in all_blocks() if block.language == "pycon"]):
            program = tmp_path / "dialogue"
            program.write_text(block.text)
            ended = python("-m", "doctest", str(program), JOBPUSH_URL=f"http://127.0.0.1:{service.port}")
            assert ended.returncode == 0, ended.stdout + ended.stderr
    finally:
        service.stop()


def test_workflows_in_python(tmp_path: Path) -> None:
    """The program that follows a WebSocket prints jobs that end."""
    (block,) = of("docs/workflows.md", [block for block in all_blocks() if block.language == "python"])
    service = ServiceProcess(tmp_path / "service", "--queue", "mock")
    service.start()
    try:
        service.ready()
        program = block.text.replace("localhost:8080", f"localhost:{service.port}")
        command = [sys.executable, "-u", "-c", program]
        with subprocess.Popen(command, env=twistd_environment(None), stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            try:
                assert re.fullmatch(r"\S+ (COMPLETED|FAILED)\n", running.stdout.readline())
            finally:
                running.kill()
    finally:
        service.stop()


@pytest.mark.parametrize("block", LISTED, ids=lambda block: block.name)
def test_not_run(block: Block) -> None:
    """A block that needs more than there is here. The list of skipped tests says which, and what."""
    pytest.skip(f"{block.name} is not run: {block.why_not}")


def run_python_page(port: int) -> None:
    """docs/python.md: each program ends well, and prints what its reader would expect of the page's three jobs."""
    said = []
    for block in of("docs/python.md", [block for block in all_blocks() if block.language == "python"]):
        program = block.text.replace("localhost:8080", f"localhost:{port}")
        ended = python("-c", program)
        assert ended.returncode == 0, program + ended.stderr
        said.append(ended.stdout.splitlines())
    assert said[0] == ["COMPLETED 0 2026-11-22 10:05:00+00:00"]
    assert sorted(said[1][:2]) == ["mock/1 COMPLETED", "mock/2 FAILED"]
    assert [line.split()[-2:] for line in said[2]] == [["mock/1", "COMPLETED"], ["mock/2", "FAILED"]]
    assert said[3][0] == "still RUNNING"
    assert "no-such-job" in said[3][1]
    assert said[4] == ["FAILED {'COMPLETED': 1, 'FAILED': 1}"]
    assert said[5][0] == "COMPLETED"


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with this checkout's modules, to its end."""
    return subprocess.run(
        [sys.executable, *arguments], env=twistd_environment(variables), cwd=ROOT, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def environment(directory: Path, port: int, **more: str) -> dict[str, str]:
    """Return the environment of a reader's shell; files of its own are in this directory."""
    programs = doc_commands.install(str(directory / "programs"))
    return {**doc_commands.environment(port, programs, str(directory / "service.pid")), **more}


def adapter_files(page: str, directory: Path) -> dict[str, str]:
    """Write the files of the page on adapters, if it is this page; return the variables by which Python finds them."""
    if page != "docs/writing-an-adapter.md":
        return {}
    write_files(page, directory)
    return {"PYTHONPATH": twistd_environment(None)["PYTHONPATH"] + os.pathsep + str(directory)}


def need_tools(some: Sequence[Block]) -> None:
    """Skip where a command is not installed that these blocks call."""
    for tool in ("bash", "curl", "jq"):
        if shutil.which(tool) is None and any(re.search(rf"\b{tool}\b", block.text) for block in some):
            pytest.skip(f"{tool} is not installed")


def check(patterns: Sequence[str], printed: str) -> None:
    """Fail unless each pattern is found in what was printed."""
    for pattern in patterns:
        assert re.search(pattern, printed), f"no {pattern!r} in:\n{printed}"


def of(page: str, some: Sequence[Block]) -> list[Block]:
    """Return those of a page."""
    return [block for block in some if block.page == page]
