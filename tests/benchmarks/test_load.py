"""The load generator: what it counts is what a server has sent."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path
from unittest import SkipTest, mock

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.load import SOURCE, CannotCompile, Cores, Load, compiled, why_not
from tests.benchmarks.tiny_server import TinyServer

COUNT = 20

BODY = b'{"state": "COMPLETED"}'
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1a;name=value\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nTrailer: yes\r\n\r\n"
)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def byte_by_byte(answer: bytes) -> list[bytes]:
    """An answer of which each byte arrives apart."""
    return [bytes([byte]) for byte in answer]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class LoadTestCase(SynchronousTestCase):
    """A generator, and a server with the answers of a test."""

    def setUp(self) -> None:
        why = why_not()
        if why is not None:
            raise SkipTest(why)

    def run_against(self, **answers) -> tuple[TinyServer, Load]:
        """A server that answers these paths, and a generator."""
        server, load = TinyServer({f"/{path}": pieces for path, pieces in answers.items()}), Load()
        self.addCleanup(server.stop)
        self.addCleanup(load.stop)
        server.start()
        return server, load

    def collected(self, pieces, count: int = COUNT, seconds: float = 20.0) -> dict:
        """What is reported of so many answers of these pieces."""
        server, load = self.run_against(answer=pieces)
        self.assertEqual(load.do("open", port=server.port, count=count, path="/answer"), {"open": count})
        return load.do("collect", seconds=seconds)

    def assert_good(self, report: dict, status: int, length: int, count: int = COUNT) -> None:
        """Each connection had an answer of that length."""
        self.assertEqual((report["answered"], report["errors"], report["surplus"]), (count, 0, 0), report)
        self.assertEqual((report["statuses"], report["bytes"]), ({str(status): count}, count * length))


class AnswerTests(LoadTestCase):
    """Which bytes are one answer."""

    def test_content_length(self) -> None:
        """Answers with a length are counted when they are whole, with their status, bytes and a sample."""
        before = time.monotonic()
        report = self.collected([PLAIN])
        self.assert_good(report, 200, len(PLAIN))
        self.assertEqual(report["sample"], PLAIN.decode())
        self.assertTrue(before <= report["first"] <= report["last"] <= time.monotonic())

    def test_byte_by_byte(self) -> None:
        """An answer that arrives in pieces is one answer, wherever it is cut."""
        self.assert_good(self.collected(byte_by_byte(PLAIN), count=3), 200, len(PLAIN), count=3)

    def test_large(self) -> None:
        """An answer may be larger than what is read at once."""
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000
        self.assert_good(self.collected([answer]), 200, len(answer))

    def test_chunked(self) -> None:
        """Chunked answers end with their last chunk and its trailer, wherever they are cut."""
        self.assert_good(self.collected([CHUNKED]), 200, len(CHUNKED))
        self.assert_good(self.collected(byte_by_byte(CHUNKED), count=3), 200, len(CHUNKED), count=3)

    def test_last_chunk_missing(self) -> None:
        """A chunked answer without its last chunk is not whole."""
        report = self.collected([CHUNKED[: CHUNKED.index(b"0\r\nTrailer")], None], seconds=0.2)
        self.assertEqual((report["answered"], report["late"], report["errors"]), (0, COUNT, COUNT))

    def test_statuses(self) -> None:
        """Each answer is counted under its status."""
        for status, head in ((503, b"503 Service Unavailable"), (404, b"404 Not Found")):
            answer = b"HTTP/1.1 %b\r\ncontent-length: 3\r\n\r\nno\n" % head
            self.assert_good(self.collected([answer]), status, len(answer))

    def test_without_a_body(self) -> None:
        """204 and 304 have no body, whatever their headers say."""
        for status in (204, 304):
            answer = b"HTTP/1.1 %d None\r\nContent-Length: 10\r\n\r\n" % status
            self.assert_good(self.collected([answer]), status, len(answer))

    def test_interim_answer(self) -> None:
        """An interim answer is not the answer."""
        interim = b"HTTP/1.1 100 Continue\r\n\r\n"
        self.assert_good(self.collected([interim, PLAIN]), 200, len(interim + PLAIN))
        report = self.collected([interim, None], seconds=0.2)
        self.assertEqual((report["answered"], report["late"]), (0, COUNT))

    def test_until_close(self) -> None:
        """An answer without a length ends with its connection."""
        answer = b"HTTP/1.0 200 OK\r\n\r\nhello"
        self.assert_good(self.collected([answer, b""]), 200, len(answer))
        report = self.collected([answer, None], seconds=0.2)
        self.assertEqual((report["answered"], report["late"]), (0, COUNT))

    def test_surplus(self) -> None:
        """Bytes after a whole answer are counted apart."""
        report = self.collected([PLAIN + b"more"])
        self.assertEqual((report["answered"], report["surplus"]), (COUNT, 4 * COUNT))

    def test_no_http(self) -> None:
        """What is not HTTP is an error."""
        for wrong in (b"SSH-2.0-OpenSSH_9.2\r\n", b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"):
            report = self.collected([wrong, None])
            self.assertEqual((report["answered"], report["malformed"], report["errors"]), (0, COUNT, COUNT))


class ConnectionTests(LoadTestCase):
    """What happens to connections."""

    def test_disconnects(self) -> None:
        """A connection that the server closes before its answer is whole is an error, and the others are counted."""
        server, load = self.run_against(whole=[PLAIN], half=[PLAIN[:-1], b""], none=[b""])
        for path, count in (("/whole", 5), ("/half", 3), ("/none", 2)):
            load.do("open", port=server.port, count=count, path=path)
        report = load.do("collect", seconds=20)
        self.assertEqual((report["answered"], report["lost"], report["errors"]), (5, 5, 5))
        self.assertEqual(load.do("send", path="/whole")["sent"], 5)

    def test_ask_again(self) -> None:
        """Further requests use the same connections."""
        server, load = self.run_against(answer=[PLAIN])
        load.do("open", port=server.port, count=COUNT, path="/answer")
        for _ in range(3):
            self.assert_good(load.do("collect", seconds=20), 200, len(PLAIN))
            sent = load.do("send", path="/answer")
            self.assertEqual((sent["sent"], sent["failed"]), (COUNT, 0))
        load.do("collect", seconds=20)
        self.assertEqual((server.connections, len(server.asked)), (COUNT, 4 * COUNT))

    def test_first_and_last(self) -> None:
        """The first and the last arrival are those of different answers."""
        server, load = self.run_against(plain=[PLAIN], slow=byte_by_byte(PLAIN))
        for path in ("/plain", "/slow"):
            load.do("open", port=server.port, count=1, path=path)
        report = load.do("collect", seconds=20)
        self.assertEqual(report["answered"], 2)
        self.assertLess(report["first"], report["last"])

    def test_forms_in_turn(self) -> None:
        """Each answer on a connection is read by its own headers."""
        forms = {"plain": [PLAIN], "chunked": [CHUNKED], "none": [b"HTTP/1.1 204 No Content\r\n\r\n"]}
        server, load = self.run_against(**forms)
        load.do("open", port=server.port, count=3, path="/chunked")
        self.assert_good(load.do("collect", seconds=20), 200, len(CHUNKED), count=3)
        for path, status in (("plain", 200), ("none", 204), ("chunked", 200), ("none", 204), ("plain", 200)):
            load.do("send", path=f"/{path}")
            self.assert_good(load.do("collect", seconds=20), status, len(forms[path][0]), count=3)

    def test_template(self) -> None:
        """Each connection puts its own number into the path, the same each time, in all places."""
        server, load = self.run_against(job=[PLAIN])
        expected = [f"/job/{number}?again={number}" for number in range(1, COUNT + 1)]
        load.do("open", port=server.port, count=5, path="/job/{}?again={}")
        load.do("open", port=server.port, count=COUNT - 5, path="/job/{}?again={}")
        self.assert_good(load.do("collect", seconds=20), 200, len(PLAIN))
        self.assertEqual(sorted(server.asked), sorted(expected))
        server.asked.clear()
        load.do("send", path="/job/{}?again={}")
        self.assert_good(load.do("collect", seconds=20), 200, len(PLAIN))
        self.assertEqual(sorted(server.asked), sorted(expected))

    def test_late(self) -> None:
        """What has not come in time is an error, and can be collected later."""
        server, load = self.run_against(hold=[None, PLAIN])
        load.do("open", port=server.port, count=COUNT, path="/hold")
        server.wait_until(lambda: len(server.asked) == COUNT)
        report = load.do("collect", seconds=0.1)
        self.assertEqual((report["answered"], report["late"], report["errors"]), (0, COUNT, COUNT))
        self.assertEqual((report["first"], report["last"]), (None, None))
        load.begin("collect", seconds=20)
        released = time.monotonic()
        server.release()
        report = load.end()
        self.assert_good(report, 200, len(PLAIN))
        self.assertGreaterEqual(report["first"], released)

    def test_asks_only_when_answered(self) -> None:
        """A connection whose answer has not come asks nothing further."""
        server, load = self.run_against(hold=[None, PLAIN])
        load.do("open", port=server.port, count=COUNT, path="/hold")
        error = self.assertRaises(SystemExit, load.do, "send", path="/hold")
        self.assertIn("connection 1 has not had its whole answer", str(error))

    def test_close(self) -> None:
        """Closed connections are closed, and new ones begin with number 1."""
        server, load = self.run_against(job=[PLAIN])
        load.do("open", port=server.port, count=3, path="/job/{}")
        load.do("collect", seconds=20)
        self.assertEqual(load.do("close"), {"open": 0})
        load.do("open", port=server.port, count=1, path="/job/{}")
        load.do("collect", seconds=20)
        self.assertEqual((server.asked.count("/job/1"), server.connections), (2, 4))

    def test_refused(self) -> None:
        """A server that does not listen is named as the reason."""
        _, load = self.run_against()
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        error = self.assertRaises(SystemExit, load.do, "open", port=port, count=1, path="/")
        self.assertIn("connect: Connection refused", str(error))


class StreamTests(LoadTestCase):
    """Answers that do not end."""

    def test_mark(self) -> None:
        """On a stream each collection waits for a mark of its own, wherever the bytes are cut."""
        event = chunk(b"data: COMPLETED\n\n")
        server, load = self.run_against(stream=[STREAM, None, *byte_by_byte(event), None, event, None])
        load.do("open", port=server.port, count=COUNT, path="/stream", accept="text/event-stream")
        server.wait_until(lambda: len(server.asked) == COUNT)
        for _ in range(2):
            self.assertEqual(load.do("collect", seconds=0.1, mark="COMPLETED")["late"], COUNT)
            load.begin("collect", seconds=20, mark="COMPLETED")
            server.release()
            report = load.end()
            self.assertEqual((report["answered"], report["errors"]), (COUNT, 0))

    def test_stream_ends(self) -> None:
        """A stream that ends without the mark is an error, at once."""
        server, load = self.run_against(stream=[STREAM + b"0\r\n\r\n"], gone=[STREAM, b""], refused=[PLAIN.replace(b"200", b"503")])
        for path in ("/stream", "/gone", "/refused"):
            load.do("open", port=server.port, count=2, path=path)
        report = load.do("collect", seconds=20, mark="FAILED")
        self.assertEqual((report["answered"], report["lost"], report["late"], report["errors"]), (0, 6, 0, 6))


class OrderTests(LoadTestCase):
    """What is asked of the generator."""

    def test_bounds(self) -> None:
        """It opens no more than 60,000 connections, to loopback, and waits no longer than 15 minutes."""
        _, load = self.run_against()
        for what, fields, why in (
            ("open", {"port": 1, "count": 60_001}, "the value of 'count' is malformed, too long or out of range"),
            ("open", {"port": 1}, "expected a count of 1 to 60000"),
            ("collect", {"seconds": 901}, "the value of 'seconds' is malformed, too long or out of range"),
        ):
            self.assertIn(why, str(self.assertRaises(SystemExit, load.do, what, **fields)))

    def test_not_understood(self) -> None:
        """What it does not understand is refused with the reason, and it goes on."""
        _, load = self.run_against()
        for what, fields, why in (
            ("opne", {}, "expected open, send, collect, storm or close"),
            ("open", {"host": "example.org"}, "no field 'host'"),
            ("send", {"path": "x" * 9000}, "'path' is malformed, too long"),
            ("send", {"path": ["/"]}, "'path' is malformed"),
        ):
            self.assertIn(why, str(self.assertRaises(SystemExit, load.do, what, **fields)))
        self.assertEqual(load.do("close"), {"open": 0})

    def test_ends_with_its_input(self) -> None:
        """It ends when nobody can tell it anything any more, in the middle of a collection too."""
        server, load = self.run_against(hold=[None])
        load.do("open", port=server.port, count=1, path="/hold")
        load.begin("collect", seconds=600)
        self.assertEqual(load.stop(20), 0)


class CompilerTests(SynchronousTestCase):
    """How the generator comes to be."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.source, self.program = directory / "load.c", directory / "build" / "load"

    def test_no_compiler(self) -> None:
        """Without a C compiler the reason is told, with what to install."""
        self.source.write_text("int main(void) { return 0; }\n")
        for environment in ({"PATH": ""}, {**os.environ, "CC": "no-such-compiler"}):
            with mock.patch.dict(os.environ, environment, clear=True):
                error = self.assertRaises(CannotCompile, compiled, self.source, self.program)
            self.assertIn("no C compiler", str(error))
            self.assertIn("gcc", str(error))
        self.assertFalse(self.program.exists())

    def test_compiled_once(self) -> None:
        """It is compiled when its source is newer than the program, and only then; what cannot be compiled is an error."""
        if why_not() is not None:
            raise SkipTest(why_not())
        shutil.copy(SOURCE, self.source)
        os.utime(self.source, (1, 1))
        before = compiled(self.source, self.program).stat().st_mtime_ns
        self.assertEqual(compiled(self.source, self.program).stat().st_mtime_ns, before)
        self.source.write_text("this is not C\n")
        os.utime(self.source, (time.time() + 10, time.time() + 10))
        error = self.assertRaises(CannotCompile, compiled, self.source, self.program)
        self.assertIn("cannot compile load.c", str(error))


class CoreTests(SynchronousTestCase):
    """Which cores are whose."""

    def test_apart(self) -> None:
        """The generator has the last core for itself; where there is one core, both share it."""
        for allowed, server, load in (({0, 1}, {0}, {1}), ({2, 5, 7}, {2, 5}, {7}), ({3}, {3}, {3})):
            self.assertEqual(Cores.apart(allowed), Cores(frozenset(server), frozenset(load)))
        self.assertEqual(str(Cores.apart({0, 1, 2})), "server on core 0, 1, load on core 2")
        self.assertEqual(str(Cores.apart({3})), "server and load on core 3")
