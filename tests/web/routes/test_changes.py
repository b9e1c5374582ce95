"""The change feed, the list of jobs, and the end of the service as its clients see it."""

from __future__ import annotations

from jobpush.events.journal import Retention
from tests.support import Lab, LabCase, quoted


class ChangesTests(LabCase):
    """``GET`` and ``POST /v1/changes``."""

    def test_without_since(self) -> None:
        """No events, and the head."""
        answer = self.lab.get("/v1/changes").json()
        self.assertEqual((answer["events"], answer["cursor"], answer["more"]), ([], self.lab.cursor, False))
        self.assertEqual(answer["clusters"]["memory"]["health"], "ok")

    def test_since_zero(self) -> None:
        """All that is kept, and where that begins."""
        answer = self.lab.get("/v1/changes?since=0&wait=0").json()
        self.assertEqual([e["job"]["id"] for e in answer["events"]], ["1"])
        self.assertTrue(answer["oldest_cursor"].endswith("-0"))

    def test_held(self) -> None:
        """It is held until something matches."""
        answer = self.lab.get("/v1/changes?since=now&user=kim&wait=60")
        self.lab.set("2", "QUEUED", user="lee")
        self.assertTrue(answer.held)
        self.lab.set("3", "QUEUED", user="kim")
        self.assertEqual([e["job"]["id"] for e in answer.json()["events"]], ["3"])

    def test_post(self) -> None:
        """A body names jobs and filters."""
        answer = self.lab.post("/v1/changes", {"since": "now", "wait": 60, "jobs": ["memory/2", "1"], "user": "kim"})
        self.assertTrue(answer.held)
        self.lab.set("2", "RUNNING", user="kim")
        self.assertEqual({e["job"]["id"] for e in answer.json()["events"]}, {"2"})

    def test_limit(self) -> None:
        """With more than ``limit`` events the cursor is the last one's, and the rest follows from there."""
        for number in range(2, 8):
            self.lab.queue.set(str(number), "QUEUED")
        self.lab.tick()
        seen: list[str] = []
        cursor, more = "0", True
        while more:
            answer = self.lab.get(f"/v1/changes?since={cursor}&limit=3&wait=0").json()
            self.assertEqual(answer["cursor"], answer["events"][-1]["cursor"] if answer["more"] else self.lab.cursor)
            seen.extend(e["job"]["id"] for e in answer["events"])
            cursor, more = answer["cursor"], answer["more"]
        self.assertEqual(seen, [str(n) for n in range(1, 8)])

    def test_every_filter(self) -> None:
        """Each filter lets its own pass and nothing else; several values are alternatives."""
        self.lab.queue.set("2", "RUNNING", name="a+b [x]", user="lee", account="cfd", queue="long", comment="w 7")
        self.lab.tick()
        for query, ids in {
            "user=lee": ["2"], "account=cfd": ["2"], "state=RUNNING": ["2"], f"name={quoted('a+b [[]x]')}": ["2"],
            "name=a*": ["1", "2"], f"comment={quoted('w 7')}": ["2"], "queue=long": ["2"], "cluster=memory": ["1", "2"],
            "user=lee&user=kim": ["1", "2"], "user=lee&state=QUEUED": [], "job=memory/2": ["2"], "user=nobody": [],
        }.items():  # fmt: skip
            jobs = self.lab.get(f"/v1/jobs?{query}").json()["jobs"]
            self.assertEqual([job["id"] for job in jobs], ids, query)

    def test_gone(self) -> None:
        """A cursor of another epoch, of the future or of what was removed is 410, with where to begin anew."""
        epoch = self.lab.journal.epochs.current
        for cursor in (f"{epoch}-999", "0123456789abcdef-1"):
            answer = self.lab.get(f"/v1/changes?since={cursor}")
            self.assertEqual(answer.status, 410, cursor)
            self.assertEqual(answer.header("content-type"), "application/problem+json")
            self.assertEqual((answer.json()["oldest_cursor"], answer.json()["snapshot_url"]), (f"{epoch}-0", "/v1/jobs"))

    def test_cursor_ahead_of_what_is_published(self) -> None:
        """A cursor that the journal has assigned and not yet published is waited for."""
        self.lab.threads.hold("write")
        self.lab.queue.set("1", "RUNNING")
        self.lab.tick()
        self.lab.journal.last_seq += 1  # as the writer's thread has it, before this one hears of it
        answer = self.lab.get(f"/v1/changes?since={self.lab.journal.epochs.current}-2&wait=60")
        self.lab.journal.last_seq -= 1
        self.lab.threads.release()
        self.lab.tick()
        self.assertTrue(answer.held, "event 2 is no news to it")
        self.lab.set("1", "SUSPENDED")
        self.assertEqual([e["seq"] for e in answer.json()["events"]], [3])


class EmptyTests(LabCase):
    """A journal without events."""

    def setUp(self) -> None:
        self.lab = self.make_lab()
        self.lab.start()
        self.addCleanup(self.lab.stop)

    def test_since_zero(self) -> None:
        """Who asked for all that is kept is told where that begins; who asked with the same place as a cursor is not."""
        zero = self.lab.get("/v1/changes?since=0&wait=60")
        cursor = self.lab.get(f"/v1/changes?since={self.lab.cursor}&wait=60")
        self.assertEqual((zero.held, cursor.held), (True, True))
        self.lab.set("1", "QUEUED")
        self.assertEqual(["oldest_cursor" in answer.json() for answer in (zero, cursor)], [True, False])
        self.assertEqual([len(answer.json()["events"]) for answer in (zero, cursor)], [1, 1])


class RetentionTests(LabCase):
    """A journal that keeps little."""

    def make_lab(self) -> Lab:
        return Lab(retention=Retention(events=10))

    def test_beyond_it(self) -> None:
        """What was removed is 410, never skipped; ``since=0`` is the oldest that is kept."""
        first = self.lab.cursor
        for number in range(30):
            self.lab.set("1", "RUNNING" if number % 2 == 0 else "SUSPENDED")
        self.assertEqual(self.lab.get(f"/v1/changes?since={first}").status, 410)
        answer = self.lab.get("/v1/changes?since=0&wait=0").json()
        self.assertEqual([e["seq"] for e in answer["events"]], list(range(22, 32)))
        self.assertTrue(answer["oldest_cursor"].endswith("-21"))


class ListTests(LabCase):
    """``GET /v1/jobs``."""

    def test_pages(self) -> None:
        """Every page carries the first page's cursor, also when things change between; no job is left out or comes twice."""
        for number in range(2, 30):
            self.lab.queue.set(f"{number}", "QUEUED")
        self.lab.tick()
        first = self.lab.get("/v1/jobs?limit=10").json()
        self.lab.set("30", "QUEUED")
        ids = [job["id"] for job in first["jobs"]]
        page = first
        while "after" in page:
            page = self.lab.get(f"/v1/jobs?limit=10&after={page['after']}").json()
            self.assertEqual(page["cursor"], first["cursor"])
            ids.extend(job["id"] for job in page["jobs"])
        self.assertEqual(sorted(ids), sorted(str(n) for n in range(1, 31)))
        later = self.lab.get(f"/v1/changes?since={first['cursor']}&wait=0").json()
        self.assertEqual([e["job"]["id"] for e in later["events"]], ["30"])

    def test_bad_page(self) -> None:
        """``after`` is what an earlier page gave, and nothing else."""
        for after in ("x", "e30", "bnVsbA", "%00"):
            answer = self.lab.get(f"/v1/jobs?after={after}")
            self.assertEqual((answer.status, answer.json()["parameter"]), (400, "after"))

    def test_the_journal_cannot_be_read(self) -> None:
        """Who asks for what only the journal has is told to come back a little later."""
        self.lab.service.tail._events = []
        self.lab.journal._writer.execute("ALTER TABLE event RENAME TO gone")
        for path in ("/v1/changes?since=0", "/v1/jobs/memory/9", "/v1/wait?job=memory/9"):
            answer = self.lab.get(path)
            self.assertEqual((path, answer.status, answer.header("retry-after")), (path, 503, "5"))
            self.assertIn("cannot be read", answer.json()["detail"])


class EndTests(LabCase):
    """The service ends."""

    def test_every_waiter_is_answered(self) -> None:
        """``timed_out`` and a ``Retry-After``."""
        waiting = [
            self.lab.get("/v1/jobs/memory/1?since=now&wait=60"),
            self.lab.get("/v1/changes?since=now&wait=60"),
            self.lab.get("/jobstatus?jobId=1&since=now"),
        ]
        self.lab.service.announce_end()
        for answer in waiting:
            self.assertEqual(answer.status, 200)
            self.assertIn(int(answer.header("retry-after") or 0), range(1, 6))
        self.assertTrue(waiting[0].json()["timed_out"])
        self.assertEqual(self.lab.registry.held, 0)

    def test_claimed_waiters_get_what_they_were_claimed_for(self) -> None:
        """An end between claim and answer takes nothing away."""
        answer = self.lab.get("/v1/changes?since=now&wait=60")
        self.lab.queue.set("1", "RUNNING")
        self.lab.clock.advance(1.0)
        self.lab.service.announce_end()
        self.assertEqual([e["job"]["state"] for e in answer.json()["events"]], ["RUNNING"])
        self.assertFalse(answer.json()["timed_out"])


class CapTests(LabCase):
    """As many held requests as are allowed."""

    def make_lab(self) -> Lab:
        return Lab(max_held=2)

    def test_503(self) -> None:
        """The next one is told to come back; what is held stays, and short requests go on."""
        held = [self.lab.get("/v1/changes?since=now&wait=60") for _ in range(2)]
        answer = self.lab.get("/v1/changes?since=now&wait=60")
        self.assertEqual((answer.status, answer.header("content-type")), (503, "application/problem+json"))
        self.assertIn(int(answer.header("retry-after") or 0), range(2, 11))
        self.assertEqual(self.lab.get("/v1/jobs/memory/1").status, 200)
        self.lab.set("1", "RUNNING")
        self.assertEqual([len(h.json()["events"]) for h in held], [1, 1])
        self.assertEqual(self.lab.registry.held, 0)
