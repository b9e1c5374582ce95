"""
Who asks, with real users: processes of different accounts on the socket of a jobpush that shows each his own jobs, and the tokens
that they make there.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service_process import ServiceProcess, twistd_environment, write_jobs
from tests.slurm_cluster import wait_until

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can start processes of other accounts"),
]

#: Accounts that each Debian has.
KIM, LEE = "daemon", "games"
PROXY = "www-data"

#: Becomes another user, after everything is loaded (that one may not be able to read this interpreter), and sends what it is given
#: over a unix socket, printing what comes until the end.
SEND = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[3])
s.sendall(sys.argv[4].encode())
while data := s.recv(65536):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
"""

#: The same with the command.
COMMAND = """
import encodings.idna, os, sys
import jobpush_client.cli, jobpush_client.cli.login, jobpush_client.cli.show, jobpush_client.cli.token, jobpush_client.cli.wait
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
sys.exit(jobpush_client.cli.main(sys.argv[3:]))
"""


class Site:
    """jobpush on a jobs file with private jobs, and its users."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.jobs = directory / "jobs"
        self.set("RUNNING")
        self.socket = directory / "jobpush.sock"
        self.service = ServiceProcess(
            directory / "service", "--queue", f"mock:file={self.jobs}:interval=0.1", "--state", str(directory / "state"), "--private", "yes",
            "--socket", f"unix:{self.socket}", "--operator", "@mail", *options,
        )  # fmt: skip
        self.begun: list[subprocess.Popen[str]] = []
        self.service.start()
        self.service.ready()

    def set(self, state: str) -> None:
        """Job 1, which is kim's, and job 2, which is lee's."""
        rows = [{"id": "1", "user": KIM, "state": state}, {"id": "2", "user": LEE, "state": state}]
        write_jobs(self.jobs, "".join(json.dumps(row) + "\n" for row in rows))

    def begin(self, user: str, program: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        """A process of a user's."""
        home = self.directory / f"home-{user}"
        home.mkdir(exist_ok=True)
        account = pwd.getpwnam(user)
        os.chown(home, account.pw_uid, account.pw_gid)
        begun = subprocess.Popen(
            [sys.executable, "-c", program, str(account.pw_uid), str(account.pw_gid), *words], cwd="/", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**twistd_environment({}), "HOME": str(home), **environment},
        )  # fmt: skip
        self.begun.append(begun)
        return begun

    def jobpush(self, user: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The command, to its end."""
        command = self.begin(user, COMMAND, *words, **{"JOBPUSH_URL": f"unix:{self.socket}", **environment})
        out, err = command.communicate(timeout=60)
        return subprocess.CompletedProcess(words, command.returncode, out, err)

    def says(self, user: str, *requests: str) -> list[Any]:
        """The JSON of the answers to these requests, sent by a user's process on one connection."""
        lines = [f"{request} HTTP/1.1\r\nHost: localhost\r\n" for request in requests]
        lines[-1] += "Connection: close\r\n"
        out, err = self.begin(user, SEND, str(self.socket), "\r\n".join(lines) + "\r\n").communicate(timeout=60)
        assert not err
        return [json.loads(part.partition("\n\n")[2]) for part in out.split("HTTP/1.1 ")[1:]]

    def held(self) -> int:
        """How many requests are held, which an operator is told."""
        (answer,) = self.says("mail", "GET /readyz")
        return int(answer["held"])

    def port(self, path: str, token: str | None = None) -> Any:
        """An answer on the port."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return self.service.get(path, headers=headers)

    def stop(self) -> None:
        """End."""
        for process in self.begun:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.service.stop()


@pytest.fixture
def site() -> Iterator[Site]:
    # The accounts must be able to go there.
    directory = Path(tempfile.mkdtemp(dir="/tmp", prefix="jp-"))
    directory.chmod(0o755)
    add_user(directory)
    proxy, users = f"proxy:header=X-Remote-User:peer={PROXY}", f"users:file={directory}/users"
    started = Site(directory, "--auth", proxy, "--auth", users)
    try:
        yield started
    finally:
        started.stop()
        shutil.rmtree(directory)


def add_user(directory: Path, password: str = "correct horse") -> None:
    """Give lee a password."""
    subprocess.run(
        [sys.executable, "-m", "jobpush_client.cli", "users", "add", LEE, "--file", str(directory / "users"), "--stdin"],
        input=f"{password}\n", text=True, check=True, env=twistd_environment({}),
    )  # fmt: skip


def test_passwords(site: Site) -> None:
    """On the socket, whoever's process it is; on the port they are refused. A new password is one after SIGHUP. No password is logged."""

    def ask(password: str) -> Any:
        said = base64.b64encode(f"{LEE}:{password}".encode()).decode()
        (answer,) = site.says(KIM, f"GET /v1/jobs HTTP/1.1\r\nAuthorization: Basic {said}\r\nX: ")
        return answer.get("status") or [job["id"] for job in answer["jobs"]]

    assert ask("correct horse") == ["2"]
    assert (ask("wrong horse"), ask("wrong horse"), ask("correct horse")) == (401, 429, ["2"])
    said = base64.b64encode(f"{LEE}:correct horse".encode()).decode()
    assert site.service.get("/v1/jobs", headers={"Authorization": f"Basic {said}"}).status == 403
    add_user(site.directory, "battery staple")
    assert site.service.process is not None
    site.service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "auth users: 1 users" in site.service.log, 20)
    time.sleep(1)
    assert ask("battery staple") == ["2"]
    assert ask("correct horse") == 401
    for word in ("horse", "staple", said):
        assert word not in site.service.log
    assert f"refused: {LEE} from uid {pwd.getpwnam(KIM).pw_uid} on a unix socket, GET /v1/jobs: 401 the name or" in site.service.log


def test_a_proxy(site: Site) -> None:
    """It alone may name users, on the socket; who is not named is nobody; its own account is nobody too. Each refusal is in the log."""
    named = "X-Remote-User: %s\r\n"
    for user, header, expected in (
        (PROXY, named % KIM, ["1"]), (PROXY, named % LEE, ["2"]), (PROXY, named % "mail", ["1", "2"]), (PROXY, "", 401), (PROXY, named % KIM * 2, 400),
        (PROXY, named % "", 400), (KIM, named % KIM, 403), (KIM, named % LEE, 403), (KIM, "", ["1"]),
    ):  # fmt: skip
        answers = site.says(user, *[f"GET /v1/jobs HTTP/1.1\r\n{header}X: "] * (3 if isinstance(expected, list) else 1))
        found = [answer.get("status") or [job["id"] for job in answer["jobs"]] for answer in answers]
        assert found == [expected] * len(answers), (user, header)
    assert site.service.get("/v1/jobs", headers={"X-Remote-User": KIM}).status == 403
    assert f"from uid {pwd.getpwnam(KIM).pw_uid} on a unix socket, GET /v1/jobs: 403 X-Remote-User" in site.service.log
    assert "from 127.0.0.1, GET /v1/jobs: 403 X-Remote-User" in site.service.log


def test_each_sees_his_own(site: Site) -> None:
    """The same bytes from different users, at once, held, and in streams; root is a user like others; an operator sees all."""
    for user, expected in ((KIM, ["1"]), (LEE, ["2"]), ("root", []), ("mail", ["1", "2"])):
        for _ in range(2):
            answers = site.says(user, "GET /v1/jobs", "GET /v1/changes?since=0&wait=0", "GET /v1/jobs")
            assert [job["id"] for job in answers[0]["jobs"]] == expected, user
            assert sorted({event["job"]["id"] for event in answers[1]["events"]}) == expected, user
            assert [job["id"] for job in answers[2]["jobs"]] == expected, user
    held = {user: site.begin(user, SEND, str(site.socket), "GET /v1/changes?since=now&wait=60 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            for user in (KIM, LEE)}  # fmt: skip
    stream = site.begin(KIM, SEND, str(site.socket), "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until(lambda: site.held() == 3, 20)
    site.set("SUSPENDED")
    for user, job in ((KIM, "1"), (LEE, "2")):
        out, _ = held[user].communicate(timeout=30)
        assert [event["job"]["id"] for event in json.loads(out.partition("\n\n")[2])["events"]] == [job]
    assert stream.stdout is not None
    seen = ""
    while '"SUSPENDED"' not in seen:
        seen += stream.stdout.readline()
    assert '"id":"1"' in seen
    assert '"id":"2"' not in seen
    # Another's is as one that does not exist.
    there, absent = site.says(KIM, "GET /v1/jobs/mock/2", "GET /v1/jobs/mock/77")
    assert (there["status"], there["detail"].replace("job 2", "job")) == (absent["status"], absent["detail"].replace("job 77", "job"))


def test_login(site: Site) -> None:
    """A user logs in on the socket, and the command uses the token on the port, until it is revoked: then it says how to go on."""
    port = f"http://127.0.0.1:{site.service.port}"
    assert site.port("/v1/jobs").status == 401
    refused = site.jobpush(KIM, "show", "1", JOBPUSH_URL=port)
    assert (refused.returncode, "jobpush login" in refused.stderr) == (242, True), refused
    login = site.jobpush(KIM, "login", "--server", port, "--hours", "1")
    assert login.returncode == 0, login
    assert login.stdout.startswith(f"{KIM}: a token for {port} until ")
    file = site.directory / f"home-{KIM}" / ".config" / "jobpush" / "tokens.json"
    assert file.stat().st_mode & 0o777 == 0o600
    shown = site.jobpush(KIM, "show", "1", JOBPUSH_URL=port)
    assert shown.returncode == 0, shown
    assert site.jobpush(KIM, "show", "2", "--patience", "1", JOBPUSH_URL=port).returncode == 240
    (line,) = site.jobpush(KIM, "token", "list").stdout.splitlines()
    token = json.loads(file.read_text())[port]
    assert token not in line
    held = site.begin(KIM, COMMAND, "wait", "1", JOBPUSH_URL=port)
    wait_until(lambda: site.held() == 1, 20)
    # Over a restart it is good.
    site.service.stop()
    site.service.start()
    site.service.ready()
    wait_until(lambda: site.held() == 1, 40)
    assert site.port("/v1/jobs", token).status == 200
    assert site.jobpush(KIM, "token", "revoke", line.split()[0]).returncode == 0
    _, err = held.communicate(timeout=30)
    assert (held.returncode, "revoked" in err) == (242, True), err
    assert site.port("/v1/jobs", token).status == 401
    assert token not in site.service.log
    for path in (site.directory / "state").iterdir():
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path


def test_the_socket(site: Site) -> None:
    """What a killed process has left is replaced; one that is listened on is not taken; it goes with the service."""
    assert site.socket.stat().st_mode & 0o777 == 0o666
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(site.socket))
    other = ServiceProcess(site.directory / "other", "--queue", "mock", "--socket", f"unix:{site.socket}")
    with pytest.raises(AssertionError) as refused:
        other.start()
    assert f"another process listens on {site.socket}" in str(refused.value)
    site.service.kill()
    assert site.socket.exists()
    site.service.start()
    assert site.says("root", "GET /v1/jobs")[0]["jobs"] == []
    site.service.stop()
    assert not site.socket.exists()
