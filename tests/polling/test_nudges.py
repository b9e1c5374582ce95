"""Nudges: what they make the monitor do, how many queries that costs, and what they can not do."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from jobpush.adapter.interfaces import BadQueueOption, INamedJobsQueue, IWatchfulQueue, QueueError
from jobpush.adapter.load import DUTY, RESERVE_S, LoadBudget
from jobpush.adapter.testing import MemoryQueue
from jobpush.core.model import QueueFacts, Snapshot
from jobpush.polling.nudge_sockets import NudgeSocket, NudgeSocketError, UdpAddress, UnixAddress, parse_address, read_secret
from jobpush.polling.nudges import READ_PER_S, BadNudge, Nudge, Nudges, signed, unsigned
from jobpush.polling.queue_options import QueueOptions
from jobpush.polling.schedule import ECHO_S, Foresight, PaceOptions, Wishes
from jobpush.service import JobPush
from tests.support import NOW, Lab, LabCase

SECRET = b"0123456789abcdef"


@implementer(INamedJobsQueue, IWatchfulQueue)
class NamingQueue(MemoryQueue):
    """A queue that can be asked for some jobs, and that watches."""

    most_named = 3
    echo = ECHO_S

    def __init__(self, reactor: Any, **options: Any) -> None:
        super().__init__(reactor, **options)
        self.named_for: list[Sequence[str]] = []
        self.nudge: Any = None
        self.ended = False

    def named(self, jobs: Sequence[str]) -> Deferred[Snapshot]:
        self.named_for.append(jobs)
        self.queries -= 1

        def some(snapshot: Snapshot) -> Snapshot:
            return Snapshot({name: snapshot.jobs[name] for name in jobs if name in snapshot.jobs}, NOW, NOW)

        return self.snapshot().addCallback(some)

    def watch(self, nudge: Any) -> Any:
        self.nudge = nudge

        def end() -> None:
            self.ended = True

        return end


class PacedLab(Lab):
    """A lab whose queue is asked every ten minutes, if nobody nudges."""

    queue_class: Any = NamingQueue

    def __init__(self) -> None:
        super().__init__()
        self.queue = self.queue_class(self.clock, interval=600.0)
        self.service = JobPush(
            self.clock, [self.queue], self.journal, options={"memory": QueueOptions(PaceOptions(floor=0.1, reconcile=700.0))}
        )
        self.serve()


class NudgedCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.lab = PacedLab()
        self.queue: Any = self.lab.queue
        self.queue.set("1", "QUEUED")
        self.lab.start()
        self.addCleanup(self.lab.stop)
        self.monitor = self.lab.service.monitors["memory"]
        self.lab.clock.advance(5)
        self.begin = self.queue.queries

    @property
    def queries(self) -> int:
        return int(self.queue.queries - self.begin)


class MonitorTests(NudgedCase):
    """What a nudge does to the monitor."""

    def test_a_nudge_is_followed_by_a_query_at_once(self) -> None:
        """Without waiting for the interval, also for one that the user has set."""
        held = self.lab.get("/v1/changes?since=now&wait=60")
        self.queue.set("1", "RUNNING")
        self.monitor.nudge(["1"])
        self.lab.clock.advance(0)
        self.assertEqual((held.json()["events"][0]["job"]["state"], self.queries), ("RUNNING", 1))

    def test_a_burst_is_one_query_for_each_floor(self) -> None:
        """Ten thousand nudges in a second are at most ten queries and one more; and the load stays limited."""
        for _ in range(1000):
            for _ in range(10):
                self.monitor.nudge(["1"])
            self.lab.clock.advance(0.001)
        self.assertTrue(9 <= self.queries <= 11, self.queries)

    def test_a_nudge_while_a_query_runs_causes_exactly_one_more(self) -> None:
        """However many come; and what has changed meanwhile is seen."""
        self.queue.pending = []
        self.monitor.nudge()
        self.lab.clock.advance(0)
        for _ in range(50):
            self.monitor.nudge()
        self.lab.clock.advance(0.01)
        self.queue.set("1", "RUNNING")
        pending, self.queue.pending = self.queue.pending, None
        pending.pop().callback(None)
        self.lab.clock.run(0.15)
        self.assertEqual((self.queries, self.lab.states()["1"]), (2, "RUNNING"))

    def test_the_duty_limit_holds(self) -> None:
        """Queries that last, wished for without end, take a twentieth of the time once the reserve is spent."""
        busy = 0.0
        self.queue.pending = []
        for _ in range(6000):
            self.monitor.nudge()
            self.lab.clock.advance(0.05)
            if self.queue.pending:
                self.lab.clock.advance(0.2)
                busy += 0.2
                self.queue.pending.pop().callback(None)
        total = 6000 * 0.05 + busy
        self.assertTrue(0.9 * DUTY * total < busy < DUTY * total + RESERVE_S + 0.4, (busy, total))
        self.queue.pending = None

    def test_a_job_on_its_way_is_looked_at_again(self) -> None:
        """A start hook comes before RUNNING: a few more looks, until it is seen; then none."""
        self.queue.set("1", "STARTING")
        self.monitor.nudge(["1"])
        self.lab.clock.advance(0)
        self.queue.set("1", "RUNNING")
        self.lab.clock.run(ECHO_S[0] + 0.05, step=0.01)
        self.assertEqual(self.lab.states()["1"], "RUNNING")
        self.lab.clock.run(60, step=0.1)
        self.assertEqual(self.queries, 2)

    def test_a_nudge_that_nothing_comes_of(self) -> None:
        """The job is not listed, or has not changed: a few looks, and that is all."""
        self.monitor.nudge(["77"])
        self.lab.clock.run(60, step=0.1)
        self.assertEqual(self.queries, 1 + len(ECHO_S))

    def test_a_log_is_not_early(self) -> None:
        """What it says has happened: one look, unless that shows a job that is on its way."""
        self.monitor.nudge(["1"], early=False)
        self.lab.clock.run(60, step=0.1)
        self.assertEqual(self.queries, 1)
        self.queue.set("1", "STARTING")
        self.monitor.nudge(["1"], early=False)
        self.lab.clock.advance(0)
        self.queue.set("1", "RUNNING")
        self.lab.clock.run(ECHO_S[0] + 0.05, step=0.01)
        self.assertEqual(self.lab.states()["1"], "RUNNING")

    def test_nudges_do_not_break_the_back_off(self) -> None:
        """While the scheduler cannot be asked, nobody makes jobpush ask more often; when it can, the wish is still there."""
        self.queue.failure = QueueError("down")
        self.monitor.nudge()
        self.lab.clock.run(1)
        failed = self.queries
        for _ in range(100):
            self.monitor.nudge()
            self.lab.clock.advance(0.1)
        self.assertEqual((self.queries, self.monitor.status.health), (failed, "stale"))

    def test_the_poll_becomes_a_reconciler(self) -> None:
        """While nudges announce what changes the poll is slow; when they cease to, it is what it was."""
        self.queue.interval = 2.0
        for number in range(10):
            self.queue.set("1", "RUNNING" if number % 2 else "QUEUED")
            self.monitor.nudge(["1"])
            self.lab.clock.run(1)
        self.assertTrue(self.monitor.announced)
        self.lab.clock.run(60, step=0.5)
        begin = self.queue.queries
        self.lab.clock.run(600, step=1)
        self.assertLessEqual(self.queue.queries - begin, 1)
        for number in range(5):  # nobody says a word of these
            self.queue.set("1", "RUNNING" if number % 2 else "QUEUED")
            self.lab.clock.run(701, step=1)
        self.assertFalse(self.monitor.announced)
        begin = self.queue.queries
        self.lab.clock.run(60, step=0.5)
        self.assertGreater(self.queue.queries - begin, 25)

    def test_the_reconciler_stays_within_the_schedulers_memory(self) -> None:
        """Under half of the time for which finished jobs are listed."""
        self.queue.interval = 2.0
        self.queue.facts = QueueFacts(sees_all=True, remembers_s=30.0, remembers_by="MinJobAge")
        self.lab.clock.run(601, step=1)
        for number in range(10):
            self.queue.set("1", "RUNNING" if number % 2 else "QUEUED")
            self.monitor.nudge(["1"])
            self.lab.clock.run(1)
        begin = self.queue.queries
        self.lab.clock.run(150, step=0.5)
        self.assertTrue(9 <= self.queue.queries - begin <= 11, self.queue.queries - begin)

    def test_the_adapter_may_nudge(self) -> None:
        """An adapter that follows its scheduler's log; it is told when to end."""
        self.queue.set("1", "RUNNING")
        self.queue.nudge(["1"])
        self.lab.clock.advance(0)
        self.assertEqual(self.lab.states()["1"], "RUNNING")
        self.assertEqual(self.lab.get("/readyz").json()["nudges"]["adapter"]["taken"], 1)
        self.assertFalse(self.queue.ended)
        self.lab.stop()
        self.assertTrue(self.queue.ended)


class NamedTests(NudgedCase):
    """Only what is needed."""

    def setUp(self) -> None:
        super().setUp()
        self.monitor.status.query_s = 1.0  # asking for all is expensive here

    def test_named_jobs_are_asked_for_alone(self) -> None:
        """The others are neither compared nor absent."""
        self.queue.set("2", "QUEUED")
        self.queue.set("1", "RUNNING")
        self.monitor.nudge(["1"])
        self.lab.clock.advance(0)
        self.assertEqual((self.queue.named_for, self.queries), ([("1",)], 0))
        self.assertEqual(self.lab.states(), {"1": "RUNNING"})
        self.assertEqual(self.lab.get("/readyz").json()["queues"]["memory"]["queries_named"], 1)

    def test_absence_says_nothing_there(self) -> None:
        """A named job that is not listed makes jobpush ask for all."""
        del self.queue.jobs["1"]
        self.monitor.nudge(["1"])
        self.lab.clock.advance(0)
        self.assertEqual((len(self.queue.named_for), self.queries), (1, 1))
        record = self.lab.service.table.cluster("memory").get("1")
        assert record is not None
        self.assertIsNotNone(record.detail.absent_since)

    def test_where_all_must_be_asked_for(self) -> None:
        """Too many names, an array's task, a nudge without names, a small queue."""
        for jobs in (["1", "2", "3", "4"], ["7_1"], []):
            begin = self.queue.queries
            self.monitor.status.query_s = 1.0
            self.monitor.nudge(jobs)
            self.lab.clock.run(10)
            self.assertEqual(self.queue.named_for, [], jobs)
            self.assertGreater(self.queue.queries, begin)
        self.monitor.nudge(["1"])  # the queries above took no time at all
        self.lab.clock.run(10)
        self.assertEqual(self.queue.named_for, [])

    def test_an_array_is_compared_as_a_whole(self) -> None:
        """What turns out to be an array's row makes jobpush ask for all."""
        self.queue.set("9_1", "RUNNING")
        self.queue.jobs["9"] = self.queue.jobs["9_1"]
        self.monitor.nudge(["9"])
        self.lab.clock.advance(0)
        self.assertEqual((len(self.queue.named_for), self.queries), (1, 1))
        del self.queue.jobs["9"]


class HttpTests(LabCase):
    """``POST /v1/nudge``."""

    def test_taken(self) -> None:
        """202, with what is looked at."""
        self.lab.queue.set("1", "RUNNING")
        answer = self.lab.post("/v1/nudge", {"cluster": "memory", "jobs": ["1"]})
        self.assertEqual((answer.status, answer.json()), (202, {"clusters": ["memory"], "jobs": ["1"]}))
        self.lab.clock.advance(0.1)
        self.assertEqual(self.lab.states()["1"], "RUNNING")
        self.assertEqual(self.lab.post("/v1/nudge", b"").json()["clusters"], ["memory"])

    def test_bad_ones_are_refused_by_name(self) -> None:
        """400, saying what is wrong and what was expected; and they are counted."""
        cases: list[tuple[Any, str]] = [
            (b"{", "not JSON"), ([1], "not a JSON object"), ({"job": "1"}, "unknown field 'job'"), ({"cluster": "x"}, "memory"),
            ({"jobs": "1"}, "list of job ids"), ({"jobs": ["1;2"]}, "not a job id of memory"), ({"cluster": 3}, "served are"),
        ]  # fmt: skip
        for body, word in cases:
            answer = self.lab.post("/v1/nudge", body)
            self.assertEqual(answer.status, 400, body)
            self.assertIn(word, answer.json()["detail"])
        self.assertEqual(self.lab.get("/readyz").json()["nudges"]["http"]["refused"], len(cases))

    def test_too_many(self) -> None:
        """What comes faster than it is read is answered 429, and looked at all the same: at everything, at the next floor."""
        nudges = self.lab.service.nudges
        self.lab.queue.interval = 600.0
        self.lab.clock.run(1)
        for _ in range(READ_PER_S):
            nudges.readable("http")
        begin = self.lab.queue.queries
        for _ in range(50):
            answer = self.lab.post("/v1/nudge", {})
            self.assertEqual((answer.status, answer.header("retry-after")), (429, "1"))
        self.assertEqual(self.lab.get("/readyz").json()["nudges"]["http"]["unread"], 50)
        self.lab.clock.advance(0.1)
        self.assertEqual(self.lab.queue.queries, begin + 1)
        self.lab.clock.advance(1.0)
        self.assertEqual(self.lab.post("/v1/nudge", {}).status, 202)


class SeveralQueuesTests(SynchronousTestCase):
    """Whose job is it?"""

    def test_jobs_want_a_cluster(self) -> None:
        """Where there are several; without jobs all are looked at."""
        lab = Lab(queues=2).start()
        self.addCleanup(lab.stop)
        with self.assertRaises(BadNudge):
            lab.service.nudges.parse({"jobs": ["1"]})
        self.assertEqual(lab.service.nudges.parse({}), Nudge())
        self.assertEqual(lab.service.nudges.parse({"cluster": "second", "jobs": ["1"]}), Nudge("second", ("1",)))


class ArithmeticTests(SynchronousTestCase):
    """The values of `jobpush.polling.schedule`."""

    @given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 30)), max_size=50))
    def test_the_budget_holds(self, spent: list[tuple[float, float]]) -> None:
        """Whoever waits as long as it says spends no more than the share, and the reserve, and the last query."""
        budget, now, total, last = LoadBudget(), 0.0, 0.0, 0.0
        for cost, pause in spent:
            now += pause
            now += budget.wait(now)
            now += cost
            budget.spend(cost, now)
            total, last = total + cost, cost
            self.assertLessEqual(total, DUTY * now + RESERVE_S + last + 1e-6)

    def test_wishes(self) -> None:
        """Names, unless somebody wishes for everything; what a failed look was for is not forgotten."""
        wishes = Wishes()
        self.assertEqual((wishes.names, wishes.echo(), wishes.fresh), (None, None, False))
        wishes.add(["1", "2"])
        self.assertEqual((wishes.names, wishes.echo(), wishes.fresh), (("1", "2"), 0.0, True))
        taken = wishes.take()
        wishes.add(["3"])
        wishes.give_back(taken)
        self.assertEqual(wishes.names, ("1", "2", "3"))
        wishes.looked(wishes.take(), lambda name, early: name != "2")
        self.assertEqual((wishes.names, wishes.echo(), wishes.fresh), (("2",), ECHO_S[0], False))
        wishes.add([])
        self.assertIsNone(wishes.names)

    def test_too_many_wishes_are_one_for_everything(self) -> None:
        """Nobody makes this list grow without end."""
        wishes = Wishes()
        wishes.add(str(number) for number in range(100_000))
        self.assertLessEqual(len(wishes.take()), 1001)

    def test_foresight(self) -> None:
        """A few announced looks are needed, and four of five of the last ones."""
        foresight = Foresight()
        for _ in range(4):
            foresight.found(True)
        self.assertFalse(foresight.good)
        foresight.found(True)
        self.assertTrue(foresight.good)
        for _ in range(2):
            foresight.found(False)
        self.assertFalse(foresight.good)


class SignatureTests(SynchronousTestCase):
    """Nudges from other hosts."""

    def test_a_signed_one_is_read(self) -> None:
        """Within half a minute."""
        for seconds in (-29, 0, 29):
            self.assertEqual(unsigned(SECRET, NOW + seconds, signed(SECRET, NOW, b"{}")), b"{}")

    def test_others_are_not(self) -> None:
        """Another secret, another time, another text, no signature."""
        good = signed(SECRET, NOW, b"{}")
        bad = [good + b" ", b"", b"{}", good.replace(b" ", b"", 1), signed(b"x" * 16, NOW, b"{}"), signed(SECRET, NOW - 31, b"{}")]
        for datagram in (*bad, signed(SECRET, NOW + 31, b"{}"), b"\xff" * 70):
            with self.assertRaises(BadNudge):
                unsigned(SECRET, NOW, datagram)

    @given(st.binary(max_size=300))
    def test_no_datagram_breaks_anything(self, data: bytes) -> None:
        """Whatever it holds, signed or not: at most a look."""
        lab = Lab().start()
        lab.service.nudges.datagram("udp", data)
        with self.assertRaises(BadNudge):
            unsigned(SECRET, NOW, data)
        lab.clock.run(1)
        lab.stop()


class AddressTests(SynchronousTestCase):
    """What ``--nudge`` takes."""

    def test_good(self) -> None:
        """Unix sockets with a mode, UDP at an address."""
        self.assertEqual(parse_address("unix:/run/x"), UnixAddress("/run/x", 0o660))
        self.assertEqual(parse_address("unix:/run/x:mode=666"), UnixAddress("/run/x", 0o666))
        self.assertEqual(parse_address("udp:127.0.0.1:99"), UdpAddress("127.0.0.1", 99))
        self.assertEqual(parse_address("udp:[::1]:99"), UdpAddress("::1", 99))

    def test_bad(self) -> None:
        """Anything else is refused with what was expected."""
        for text in ("", "unix:", "tcp:1", "udp:1", "udp:example.org:1", "udp:1.2.3.4:0", "udp:1.2.3.4:99999", "unix:/x:mode=9", "unix:/x:mode="):
            with self.assertRaises(BadQueueOption):
                parse_address(text)

    def test_the_secret(self) -> None:
        """A file that others can read is refused, and so is a short one."""
        path = Path(self.mktemp())
        path.write_bytes(SECRET + b"\n")
        path.chmod(0o640)
        self.assertEqual(read_secret(str(path)), SECRET)
        path.chmod(0o644)
        with self.assertRaises(BadQueueOption):
            read_secret(str(path))
        path.write_bytes(b"short")
        path.chmod(0o600)
        with self.assertRaises(BadQueueOption):
            read_secret(str(path))
        with self.assertRaises(BadQueueOption):
            read_secret(str(path) + "x")


class Monitor:
    """Notes what it is nudged for."""

    def __init__(self) -> None:
        self.nudged: list[Sequence[str]] = []
        self.queue = MemoryQueue(None)

    def nudge(self, jobs: Sequence[str] = (), early: bool = True) -> None:
        self.nudged.append(jobs)


class SocketTests(TestCase):
    """Real sockets."""

    def setUp(self) -> None:
        self.monitor = Monitor()
        self.nudges = Nudges(reactor, {"memory": self.monitor})  # type: ignore[dict-item]

    def listen(self, address: Any, secret: bytes | None = None) -> NudgeSocket:
        service = NudgeSocket(reactor, self.nudges, address, secret)
        service.startService()
        self.addCleanup(lambda: service.stopService() if service.running else None)
        return service

    async def until(self, condition: Any) -> None:
        for _ in range(500):
            if condition():
                return
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        self.fail("not within 5 s")

    async def test_unix(self) -> None:
        """A datagram makes a monitor look; what is none is counted; the socket goes with the service."""
        path = os.path.relpath(self.mktemp())
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        service = self.listen(UnixAddress(path, 0o600))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(path)
            sender.send(json.dumps({"cluster": "memory", "jobs": ["1"]}).encode())
            sender.send(b"nonsense")
        await self.until(lambda: self.nudges.counts and self.nudges.counts["unix"].refused)
        self.assertEqual((self.monitor.nudged, self.nudges.counts["unix"].taken), ([("1",)], 1))
        await service.stopService()
        self.assertFalse(os.path.exists(path))

    async def test_a_socket_that_was_left_behind(self) -> None:
        """Is replaced; a file that is no socket is not."""
        path = os.path.relpath(self.mktemp())
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
            left.bind(path)
        await self.listen(UnixAddress(path)).stopService()
        Path(path).write_text("mine")
        with self.assertRaises(NudgeSocketError):
            self.listen(UnixAddress(path))
        self.assertEqual(Path(path).read_text(), "mine")

    async def test_udp(self) -> None:
        """Only what is signed is taken."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            port = sender.getsockname()[1]
        self.listen(UdpAddress("127.0.0.1", port), SECRET)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"{}", ("127.0.0.1", port))
            sender.sendto(signed(SECRET, reactor.seconds(), b"{}"), ("127.0.0.1", port))  # type: ignore[attr-defined]
        await self.until(lambda: self.monitor.nudged)
        self.assertEqual((self.nudges.counts["udp"].refused, self.nudges.counts["udp"].taken), (1, 1))
