"""Nudges: what they make the monitor do, how many queries that costs, and what they can not do."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import QueueError
from jobpush.adapter.load import RESERVE_S
from jobpush.adapter.testing import MemoryQueue
from jobpush.core.model import QueueFacts
from jobpush.polling.nudges import READ_PER_S, BadNudge, Nudge, NudgeCounts, Nudges, json_object, signed, unsigned
from jobpush.polling.schedule import ECHO_S, FEWEST_LOOKS
from tests.polling.seldom_asked import NudgedCase
from tests.support import NOW, Lab, LabCase, ManualClock

SECRET = b"0123456789abcdef"


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
        """Queries that last, asked for without end, wait two seconds for each nudge once the reserve is spent, and no longer."""
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
        self.assertTrue(0.9 * 0.2 / 2.25 * total < busy < 0.2 / 2.2 * total + RESERVE_S + 0.4, (busy, total))
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
        """While the scheduler cannot be asked, nobody makes jobpush ask more often; when it can, the request is still there."""
        self.queue.failure = QueueError("down")
        self.monitor.nudge()
        self.lab.clock.run(1)
        failed = self.queries
        for _ in range(100):
            self.monitor.nudge()
            self.lab.clock.advance(0.1)
        self.assertEqual((self.queries, self.monitor.status.error), (failed, "down"))

    def test_the_first_look_is_not_counted(self) -> None:
        """Nobody could have announced what was there before: five announced looks are needed, not four of five."""
        for number in range(FEWEST_LOOKS):
            self.assertFalse(self.monitor.announced)
            self.queue.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
            self.monitor.nudge(["1"])
            self.lab.clock.run(5)
        self.assertTrue(self.monitor.announced)

    def test_the_poll_becomes_a_reconciler(self) -> None:
        """While nudges announce what changes the poll keeps what is served fresh; when they cease to, it is what it was."""
        self.queue.interval = 2.0
        for number in range(10):
            self.queue.set("1", "RUNNING" if number % 2 else "QUEUED")
            self.monitor.nudge(["1"])
            self.lab.clock.run(1)
        self.assertTrue(self.monitor.announced)
        self.lab.clock.run(60, step=0.5)
        begin = self.queue.queries
        self.lab.clock.run(600, step=1)
        self.assertTrue(115 <= self.queue.queries - begin <= 121, self.queue.queries - begin)
        for number in range(5):  # nobody says a word of these
            self.queue.set("1", "RUNNING" if number % 2 else "QUEUED")
            self.lab.clock.run(701, step=1)
        self.assertFalse(self.monitor.announced)
        begin = self.queue.queries
        self.lab.clock.run(60, step=0.5)
        self.assertGreater(self.queue.queries - begin, 25)

    def test_the_reconciler_stays_within_the_schedulers_memory(self) -> None:
        """Under half of the time for which finished jobs are listed."""
        self.queue.interval = 8.0
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


class Monitor:
    """Notes what it is nudged for."""

    def __init__(self) -> None:
        self.nudged: list[tuple[Sequence[str], bool]] = []
        self.queue = MemoryQueue(None)

    def nudge(self, jobs: Sequence[str] = (), early: bool = True) -> None:
        self.nudged.append((tuple(jobs), early))


class SourceTests(SynchronousTestCase):
    """`Nudges`, between sources and monitors."""

    def setUp(self) -> None:
        self.clock = ManualClock()
        self.monitors = {"a": Monitor(), "b": Monitor()}
        self.nudges = Nudges(self.clock, self.monitors)  # type: ignore[arg-type]

    def nudged(self) -> dict[str, list[tuple[Sequence[str], bool]]]:
        """What the monitors were nudged for since the last call."""
        found = {name: monitor.nudged[:] for name, monitor in self.monitors.items() if monitor.nudged}
        for monitor in self.monitors.values():
            monitor.nudged.clear()
        return found

    def test_who_is_made_to_look(self) -> None:
        """The monitor of that cluster, or all; at those jobs, early or not; and it is counted."""
        for nudge, expected in [
            (Nudge("a", ("1", "2")), {"a": [(("1", "2"), True)]}), (Nudge(early=False), {"a": [((), False)], "b": [((), False)]}), (Nudge("c"), {}),
        ]:  # fmt: skip
            self.nudges.take("log", nudge)
            self.assertEqual(self.nudged(), expected)
        self.assertEqual(self.nudges.counts, {"log": NudgeCounts(taken=3)})

    def test_datagrams(self) -> None:
        """What is wrong with one is counted, and nobody looks."""
        for data in (b'{"cluster":"b","jobs":["1"]}', b"x", b"[]", b'{"jobs":["1"]}', b"{}"):
            self.nudges.datagram("unix", data)
        self.assertEqual(self.nudged(), {"a": [((), True)], "b": [(("1",), True), ((), True)]})
        self.assertEqual(self.nudges.counts["unix"], NudgeCounts(taken=2, refused=3))
        self.nudges.refuse("udp")
        self.assertEqual(self.nudges.counts["udp"], NudgeCounts(refused=1))

    def test_no_more_than_are_read(self) -> None:
        """A thousand in each second, of each source; the others are requests to see everything."""
        self.clock.advance(0.9)
        read = [self.nudges.readable("http") for _ in range(1002)]
        self.assertEqual((read.count(True), read[1000:]), (1000, [False, False]))
        self.assertEqual(self.nudged(), {"a": [((), True)] * 2, "b": [((), True)] * 2})
        self.nudges.datagram("http", b"{}")
        self.assertEqual(self.nudges.counts["http"], NudgeCounts(unread=3))
        self.assertTrue(self.nudges.readable("unix"))
        self.clock.advance(0.1)
        self.assertTrue(self.nudges.readable("http"), "another second")

    def test_what_they_say(self) -> None:
        """A cluster, and jobs of it, at most a thousand: more are one request to see all of them."""
        ids = [str(number) for number in range(1001)]
        for fields, expected in [
            ({}, Nudge()), ({"cluster": None, "jobs": None}, Nudge()), ({"cluster": "b"}, Nudge("b")), ({"cluster": "b", "jobs": []}, Nudge("b")),
            ({"cluster": "b", "jobs": ["7", "8"]}, Nudge("b", ("7", "8"))), ({"cluster": "b", "jobs": ids[:1000]}, Nudge("b", tuple(ids[:1000]))),
            ({"cluster": "b", "jobs": ids}, Nudge("b")), ({"jobs": ids}, Nudge()),
        ]:  # fmt: skip
            self.assertEqual(self.nudges.parse(fields), expected)
        for fields, told in [
            ({"z": 1, "y" * 90: 2}, f"unknown field {'y' * 80!r}; expected cluster and jobs"), ({"cluster": "c" * 90}, f"cluster: there is no {'c' * 80!r}; served are a, b"),
            ({"jobs": "1"}, 'jobs: expected a list of job ids such as "4711"'), ({"jobs": [1]}, 'jobs: expected a list of job ids such as "4711"'),
            ({"jobs": ["1"]}, "cluster: several are served, expected the one of these jobs: a, b"),
            ({"cluster": "a", "jobs": ["1", "-" * 90]}, f"jobs: {'-' * 80!r} is not a job id of a: expected up to 64 letters, digits and '_'"),
        ]:  # fmt: skip
            with self.assertRaises(BadNudge) as caught:
                self.nudges.parse(fields)
            self.assertEqual(str(caught.exception), told)
        del self.monitors["b"]
        self.assertEqual(self.nudges.parse({"jobs": ["1"]}), Nudge("a", ("1",)), "of the only one")

    def test_json(self) -> None:
        """An object."""
        self.assertEqual(json_object(b'{"jobs": []}'), {"jobs": []})
        for data, told in ((b"", "not JSON"), (b"\xff", "not JSON"), (b"[" * 100000, "not JSON"), (b"[]", "not a JSON object"), (b"null", "not a JSON object")):
            with self.assertRaises(BadNudge) as caught:
                json_object(data)
            self.assertEqual(str(caught.exception), told)


class SeveralQueuesTests(SynchronousTestCase):
    """Nudges where several queues are served: they name the cluster of their jobs."""

    def test_jobs_want_a_cluster(self) -> None:
        """Where there are several; without jobs all are looked at."""
        lab = Lab(queues=2).start()
        self.addCleanup(lab.stop)
        with self.assertRaises(BadNudge):
            lab.service.nudges.parse({"jobs": ["1"]})
        self.assertEqual(lab.service.nudges.parse({}), Nudge())
        self.assertEqual(lab.service.nudges.parse({"cluster": "second", "jobs": ["1"]}), Nudge("second", ("1",)))


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

    def test_form(self) -> None:
        """The signature in hex, whole seconds, the nudge: as docs say, for who writes a sender."""
        datagram = signed(b"secret", 1795327200.9, b'{"jobs": []}')
        signature = hmac.new(b"secret", b'1795327200 {"jobs": []}', "sha256").hexdigest().encode()
        self.assertEqual(datagram, signature + b' 1795327200 {"jobs": []}')

    def test_bounds(self) -> None:
        """Thirty seconds to and fro; a time is digits, and not too many. What is wrong is told."""
        good = signed(SECRET, NOW, b"a b")
        for off in (-30.0, 30.0):
            self.assertEqual(unsigned(SECRET, NOW + off, good), b"a b")
        late = "the time of sending is more than 30 s from now"
        for off in (-30.5, 30.5):
            error = self.assertRaises(BadNudge, unsigned, SECRET, NOW + off, good)
            self.assertEqual(str(error), late)
        for timed in (b"x {}", b"", b"0" * 3 + b"%d {}" % NOW, b"+%d {}" % NOW):
            datagram = hmac.new(SECRET, timed, "sha256").hexdigest().encode() + b" " + timed
            error = self.assertRaises(BadNudge, unsigned, SECRET, NOW, datagram)
            self.assertEqual(str(error), late)
        self.assertEqual(str(self.assertRaises(BadNudge, unsigned, b"x" * 16, NOW, good)), "the signature is not that of the secret")

    @given(st.binary(max_size=300))
    def test_no_datagram_breaks_anything(self, data: bytes) -> None:
        """Whatever it holds, signed or not: at most a look."""
        lab = Lab().start()
        lab.service.nudges.datagram("udp", data)
        with self.assertRaises(BadNudge):
            unsigned(SECRET, NOW, data)
        lab.clock.run(1)
        lab.stop()
