"""``/v1/socket``: a second implementation of WebSocket as the client, and clients that break the protocol."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.service_process import ServiceProcess, write_jobs
from tests.slurm_cluster import wait_until

pytestmark = pytest.mark.service


class Jobs:
    """A service on a jobs file, and what its jobs are."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "jobs.json"
        self.states: dict[str, str] = {}
        self.set(a="QUEUED", b="QUEUED")
        self.service = ServiceProcess(
            directory / "service", "--queue", f"mock:file={self.path}:interval=0.05", "--state", str(directory / "state")
        )

    def set(self, **states: str) -> None:
        """Jobs in these states; users are named as their jobs."""
        self.states.update(states)
        rows = [{"id": str(ord(name)), "name": name, "user": name, "state": state} for name, state in self.states.items()]
        write_jobs(self.path, "".join(json.dumps(row) + "\n" for row in rows))

    @contextmanager
    def follow(self, query: str = "", first: str = "selected", **options: Any) -> Iterator[ClientConnection]:
        """A client; what the server says first is read."""
        url = f"ws://127.0.0.1:{self.service.port}/v1/socket?{query}"
        with connect(url, open_timeout=10, close_timeout=2, **options) as client:
            assert read(client)["type"] == first
            yield client


def read(client: ClientConnection, seconds: float = 10.0) -> Any:
    """The next message."""
    return json.loads(client.recv(timeout=seconds))


def told(client: ClientConnection, count: int) -> list[tuple[str, str]]:
    """So many events of jobs."""
    events = [read(client) for _ in range(count)]
    return [(event["job"]["name"], event["job"]["state"]) for event in events]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    made = Jobs(tmp_path_factory.mktemp("socket"))
    made.service.start()
    made.service.ready()
    yield made
    made.service.stop()


@pytest.fixture(autouse=True)
def at_rest(jobs: Jobs) -> None:
    """Each test begins with both jobs queued."""
    jobs.set(a="QUEUED", b="QUEUED")
    wait_until(lambda: {j["state"] for j in jobs.service.get("/v1/jobs").json["jobs"]} == {"QUEUED"}, 10)


class TestFollowing:
    """The envelopes of the journal, as text messages."""

    def test_events(self, jobs: Jobs) -> None:
        """The same bytes that a long poll gets; the cursor resumes, here and there."""
        with jobs.follow() as client:
            jobs.set(a="RUNNING")
            data = client.recv(timeout=10)
        event = json.loads(data)
        assert (event["type"], event["job"]["state"]) == ("job", "RUNNING")
        since = f"{event['cursor'].split('-')[0]}-{event['seq'] - 1}"
        assert data.encode() in jobs.service.get(f"/v1/changes?since={since}&wait=0").body
        jobs.set(a="SUSPENDED")
        jobs.set(a="RUNNING", b="RUNNING")
        wait_until(lambda: jobs.service.job("mock", str(ord("b")))["job"]["state"] == "RUNNING", 10)
        with jobs.follow(f"since={event['cursor']}&user=b") as client:
            assert told(client, 1) == [("b", "RUNNING")]

    def test_filters_by_message(self, jobs: Jobs) -> None:
        """Other filters from where it is, or from a cursor."""
        cursor = jobs.service.get("/v1/jobs").json["cursor"]
        with jobs.follow("user=a") as client:
            jobs.set(a="RUNNING", b="RUNNING")
            assert told(client, 1) == [("a", "RUNNING")]
            client.send(json.dumps({"select": {"user": ["b"]}}))
            assert read(client)["type"] == "selected"
            jobs.set(a="HELD", b="HELD")
            assert told(client, 2) == [("b", "RUNNING"), ("b", "HELD")], "from the last event that it was told"
            client.send(json.dumps({"select": {"jobs": [f"mock/{ord('a')}"]}, "since": cursor}))
            assert read(client) == {"type": "selected", "cursor": cursor}
            assert told(client, 2) == [("a", "RUNNING"), ("a", "HELD")]
            client.send(json.dumps({"select": {}}))
            assert read(client)["type"] == "selected"

    def test_workflows(self, jobs: Jobs) -> None:
        """Their events too."""
        name = f"w{time.monotonic_ns()}"
        with jobs.follow(f"workflow={name}") as client:
            body = json.dumps({"jobs": [str(ord("a"))]}).encode()
            assert jobs.service.request("PUT", f"/v1/workflows/{name}", body=body).status == 201
            event = read(client)
            assert (event["type"], event["workflow"]["name"]) == ("workflow", name)

    def test_bad_messages(self, jobs: Jobs) -> None:
        """Are answered with what is wrong; what is followed stays."""
        with jobs.follow("user=a") as client:
            for text, parameter in [
                ("{", "message"), ("[]", "message"), ("{}", "message"), ('{"select": []}', "message"), ('{"select": {}, "x": 1}', "message"),
                ('{"select": {"state": "DEAD"}}', "state"), ('{"select": {"jobs": ["nowhere/1"]}}', "job"), ('{"select": {"wait": 1}}', "wait"),
                ('{"select": {}, "since": "x"}', "since"), ('{"select": {}, "since": 5}', "since"), ('{"select": {}, "since": "abc-1"}', "since"),
            ]:  # fmt: skip
                client.send(text)
                answer = read(client)
                assert (answer["type"], answer["parameter"]) == ("error", parameter), text
            jobs.set(a="RUNNING")
            assert told(client, 1) == [("a", "RUNNING")]

    def test_lost_cursor(self, jobs: Jobs) -> None:
        """Said in the stream, before a new cursor is given; it goes on from the head."""
        with jobs.follow("since=abcdef-1", first="reset") as client:
            selected = read(client)
            assert (selected["type"], selected["cursor"]) == ("selected", jobs.service.get("/v1/jobs").json["cursor"])
            jobs.set(a="RUNNING")
            assert told(client, 1) == [("a", "RUNNING")]

    def test_held_and_released(self, jobs: Jobs) -> None:
        """It counts as held while it is open, and nothing is left of it."""
        before = jobs.service.get("/readyz").json["held"]
        with ExitStack() as stack:
            clients = [stack.enter_context(jobs.follow()) for _ in range(2)]
            raw = Raw(jobs.service.port)
            assert jobs.service.get("/readyz").json["held"] == before + 3
            clients[0].close()
            clients[1].socket.shutdown(socket.SHUT_RDWR)
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.file.close()
            raw.socket.close()
            wait_until(lambda: jobs.service.get("/readyz").json["held"] == before, 10)

    def test_the_end_of_the_service(self, jobs: Jobs, tmp_path: Path) -> None:
        """Closed with 1001, and soon."""
        other = Jobs(tmp_path)
        other.service.start()
        other.service.ready()
        with other.follow() as client:
            began = time.monotonic()
            other.service.stop()
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert time.monotonic() - began < 5


class TestRefusals:
    """What is no handshake, or none of a page that may read here."""

    def refused(self, jobs: Jobs, **options: Any) -> int:
        url = f"ws://127.0.0.1:{jobs.service.port}/v1/socket{options.pop('query', '')}"
        with pytest.raises(InvalidStatus) as refusal, connect(url, **options):
            pass
        response = refusal.value.response
        assert response.headers["content-type"] == "application/problem+json"
        return response.status_code

    def test_origin(self, jobs: Jobs) -> None:
        """A page of another site may not; one of this host may, and so may what is no browser."""
        assert self.refused(jobs, origin="http://evil.example") == 403
        assert self.refused(jobs, origin="null") == 403
        with jobs.follow(origin=f"http://127.0.0.1:{jobs.service.port}"):
            pass

    def test_bad_parameters(self, jobs: Jobs) -> None:
        assert self.refused(jobs, query="?state=DEAD") == 400
        assert self.refused(jobs, query="?since=x") == 400

    def test_no_upgrade(self, jobs: Jobs) -> None:
        reply = jobs.service.get("/v1/socket")
        assert (reply.status, reply.headers["upgrade"]) == (426, "websocket")
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "8", "Sec-WebSocket-Key": "x"}
        reply = jobs.service.get("/v1/socket", headers=headers)
        assert (reply.status, reply.headers["sec-websocket-version"]) == (426, "13")
        assert jobs.service.get("/v1/socket", headers={"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}).status == 400


class Raw:
    """A client that may send what no library would."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.sendall(
            b"GET /v1/socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self.file = self.socket.makefile("rb")
        head = b"".join(iter(self.file.readline, b"\r\n"))
        assert b" 101 " in head, head
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, "the answer to RFC 6455's own example"
        assert self.frame()[0] == 1

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def frame(self) -> tuple[int, bytes]:
        """(opcode, payload) of the next frame; (-1, b"") at the end."""
        head = self.file.read(2)
        if len(head) < 2:
            return -1, b""
        size = head[1]
        assert size < 128, "a server does not mask"
        if size == 126:
            size = struct.unpack(">H", self.file.read(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.file.read(8))[0]
        return head[0] & 15, self.file.read(size)

    def send(self, first: int, payload: bytes, mask: bool = True) -> None:
        """A frame with this first byte."""
        size = len(payload)
        length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size) if size < 65536 else b"\x7f" + struct.pack(">Q", size)
        if not mask:
            self.socket.sendall(bytes([first]) + length + payload)
            return
        key = os.urandom(4)
        masked = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
        self.socket.sendall(bytes([first, length[0] | 128]) + length[1:] + key + masked)

    def closed_with(self) -> int:
        """The code with which the server closes; 0 if it closes without."""
        while True:
            opcode, payload = self.frame()
            if opcode == 8:
                code: int = struct.unpack(">H", payload[:2])[0]
                assert self.frame() == (-1, b"")
                return code
            if opcode == -1:
                return 0


class TestProtocol:
    """RFC 6455, where clients break it, and where they use it to the full. Cases after the Autobahn test suite's chapters."""

    @pytest.mark.parametrize(
        ("first", "payload", "mask", "code"),
        [
            pytest.param(0x81, b"{}", False, 1002, id="not masked"),
            pytest.param(0xC1, b"{}", True, 1002, id="reserved bit"),
            pytest.param(0x83, b"", True, 1002, id="reserved opcode"),
            pytest.param(0x8B, b"", True, 1002, id="reserved control opcode"),
            pytest.param(0x09, b"", True, 1002, id="ping in parts"),
            pytest.param(0x89, b"x" * 126, True, 1002, id="long ping"),
            pytest.param(0x80, b"{}", True, 1002, id="continuation of nothing"),
            pytest.param(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80", True, 1007, id="not UTF-8"),
            pytest.param(0x82, b"\x00\x01", True, 1003, id="binary"),
            pytest.param(0x88, b"\x03\xe8", True, 1000, id="close"),
            pytest.param(0x88, b"\x00", True, 1002, id="close with half a code"),
            pytest.param(0x88, b"\x03\xed", True, 1002, id="close with a code that may not be sent"),
            pytest.param(0x88, b"\x03\xe8\xff", True, 1007, id="close with a reason that is not UTF-8"),
        ],
    )
    def test_closed(self, jobs: Jobs, first: int, payload: bytes, mask: bool, code: int) -> None:
        """With the code that the RFC has for it; the service goes on, and its log holds no traceback."""
        with Raw(jobs.service.port) as client:
            client.send(first, payload, mask)
            assert client.closed_with() == code
        assert "Traceback" not in jobs.service.log

    def test_pieces(self, jobs: Jobs) -> None:
        """A message in frames, with a ping between them, byte by byte."""
        text = json.dumps({"select": {"user": "κόσμε"}}, ensure_ascii=False).encode()
        with Raw(jobs.service.port) as client:
            client.send(0x01, text[:20])
            client.send(0x89, b"are you there")
            client.send(0x00, text[20:21])
            client.send(0x80, text[21:])
            assert client.frame() == (10, b"are you there")
            opcode, payload = client.frame()
            assert (opcode, json.loads(payload)["type"]) == (1, "selected")

    def test_too_long(self, jobs: Jobs) -> None:
        """A message without end is refused, in one frame or in many."""
        for first, rest in ((0x81, None), (0x01, 0x00)):
            with Raw(jobs.service.port) as client, suppress(ConnectionError):  # it may be closed while this is sent
                client.send(first, b"x" * (1_200_000 if rest is None else 60_000))
                for _ in range(30 if rest is not None else 0):
                    client.send(0x00, b"x" * 60_000)
                assert client.closed_with() in (1009, 0)
        assert jobs.service.get("/healthz").status == 200
        assert "Traceback" not in jobs.service.log

    def test_a_client_that_does_not_read(self, jobs: Jobs) -> None:
        """Has a bounded buffer; past it the connection is dropped, and its cursor brings back the rest."""
        held = jobs.service.get("/readyz").json["held"]
        with Raw(jobs.service.port) as deaf, pytest.raises(ConnectionError):
            until = time.monotonic() + 60
            while time.monotonic() < until:  # each is answered with what is wrong
                deaf.send(0x81, b"{}")
        assert "Traceback" not in jobs.service.log
        wait_until(lambda: jobs.service.get("/readyz").json["held"] == held, 20)
