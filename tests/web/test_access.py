"""Who may ask, and whose jobs he sees, as clients see it."""

from __future__ import annotations

import json
from typing import Any

from jobpush import __version__
from jobpush.adapter.interfaces import QueueError
from jobpush.core.model import QueueFacts
from jobpush.polling.lookups import UNKNOWN_S
from jobpush.web.access import PATIENCE_S, Anonymous, Policy
from tests.support import USER_HEADER, LabCase, Pending, Says

OPEN = QueueFacts(sees_all=True)
HIDES = QueueFacts(sees_all=True, hides_jobs=True, evidence="PrivateData=jobs")

#: Each route that may show a job, with job 1 or none.
ROUTES = (
    "/v1/jobs", "/v1/jobs/memory/1", "/v1/changes", "/v1/changes?since=0", "/v1/wait?job=1", "/v1/events", "/v1/workflows",
    "/jobstatus?jobId=1",
)  # fmt: skip


class AccessCase(LabCase):
    """A service whose queue says what it is told to; job 1 is kim's, job 2 is lee's."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.queue.set("1", "RUNNING", user="kim", name="secret")
        self.lab.queue.set("2", "RUNNING", user="lee", name="hushed")
        self.lab.tick()

    def says(self, facts: QueueFacts | None) -> None:
        """The scheduler says that; or has not said anything yet."""
        self.lab.queue.facts = facts if facts is not None else QueueError("no answer")
        self.lab.service.monitors["memory"].status.facts = facts
        self.lab.service.hiding.checked()

    def ask(self, path: str, user: str | None = None) -> Pending:
        """A request of that user's; by default nobody says who asks."""
        return self.lab.get(path, headers={USER_HEADER: user} if user is not None else {})

    def listed(self, user: str | None = None, query: str = "") -> list[str]:
        """The ids of the jobs that are listed to him."""
        return [job["id"] for job in self.ask(f"/v1/jobs?{query}", user).json()["jobs"]]


class AnonymousTests(AccessCase):
    """Who does not say who he is."""

    def test_nothing_is_hidden(self) -> None:
        """Every job is shown to everybody."""
        self.assertEqual(self.listed(), ["1", "2"])

    def test_hidden(self) -> None:
        """Each route is refused with 401, which says which scheduler hides what, and what can be done; three times."""
        self.says(HIDES)
        for path in ROUTES * 3:
            answer = self.ask(path)
            self.assertEqual((answer.status, answer.header("www-authenticate")), (401, "Bearer"), path)
            for part in ("memory", "PrivateData=jobs", "--allow-anonymous"):
                self.assertIn(part, answer.json()["detail"])

    def test_how_to_say_who_asks(self) -> None:
        """Where there are ways to say who asks, they are named."""
        self.lab.serve(policy=Policy(methods=("send a token (jobpush login)", "use the unix socket")), authenticators=[Says()])
        self.says(HIDES)
        detail = self.ask("/v1/jobs").json()["detail"]
        self.assertTrue(detail.endswith("this port: send a token (jobpush login), or use the unix socket"), detail)

    def test_open_to_all(self) -> None:
        """Health, readiness and metrics show no job, and are answered all the same."""
        for facts in (HIDES, None):
            self.says(facts)
            self.assertEqual([self.ask(path).status for path in ("/healthz", "/metrics")], [200, 200])
            self.assertFalse(self.ask("/readyz").held)

    def test_allowed(self) -> None:
        """``--allow-anonymous`` shows all jobs to everybody, whatever the scheduler hides, or has not said yet."""
        self.lab.serve(policy=Policy(Anonymous.ALWAYS))
        for facts in (HIDES, None, OPEN):
            self.says(facts)
            self.assertEqual(self.listed(), ["1", "2"])

    def test_never(self) -> None:
        """Where who asks must say who he is, even open jobs are not shown to nobody."""
        self.lab.serve(policy=Policy(Anonymous.NEVER))
        self.assertEqual(self.ask("/v1/jobs").status, 401)

    def test_private(self) -> None:
        """Where users see their own jobs alone, nobody has any."""
        self.lab.serve(policy=Policy(private=True))
        self.assertEqual(self.ask("/v1/jobs").status, 401)

    def test_no_longer_hidden(self) -> None:
        """When the scheduler hides jobs no more, requests are answered again."""
        self.says(HIDES)
        self.assertEqual(self.ask("/v1/jobs/memory/1").status, 401)
        self.says(OPEN)
        self.assertEqual(self.ask("/v1/jobs/memory/1").status, 200)


class UserTests(AccessCase):
    """Who says who he is."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.serve(authenticators=[Says()])

    def test_as_the_scheduler_has_it(self) -> None:
        """All jobs where it hides none; else his own."""
        self.assertEqual(self.listed("kim"), ["1", "2"])
        self.says(HIDES)
        self.assertEqual((self.listed("kim"), self.listed("lee"), self.listed("pat")), (["1"], ["2"], []))

    def test_as_the_site_has_it(self) -> None:
        """The administrator may say that all is shown, or his own jobs alone, whatever the scheduler does."""
        for private, facts, expected in ((True, OPEN, ["1"]), (False, HIDES, ["1", "2"]), (True, None, ["1"]), (False, None, ["1", "2"])):
            self.lab.serve(policy=Policy(private=private), authenticators=[Says()])
            self.says(facts)
            self.assertEqual(self.listed("kim"), expected, (private, facts))

    def test_operators(self) -> None:
        """Who is an operator, or an administrator, sees all; root does not, by its name."""
        self.says(HIDES)
        self.assertEqual([self.listed(who) for who in ("pat+operator", "pat+admin", "root")], [["1", "2"], ["1", "2"], []])

    def test_as_if_it_did_not_exist(self) -> None:
        """Another's job is answered with the very bytes of one that does not exist, on every route, once a look has been taken."""
        self.says(HIDES)
        for there, absent in (("2", "7"), ("lee/lee-w", "pat/pat-w")):
            for path in (
                "/v1/jobs/memory/ID", "/v1/jobs/memory/ID?since=0&wait=3", "/v1/jobs/memory/ID?until=terminal&wait=3",
                "/jobstatus?jobId=ID", "/jobstatus?jobId=ID&since=now", "/v1/wait?job=ID&wait=3", "/v1/wait?workflow=ID&wait=0",
                "/v1/changes?job=ID", "/v1/changes?job=ID&since=0&wait=0", "/v1/workflows/ID",
            ):  # fmt: skip
                if ("workflow" in path) == (there == "2"):
                    continue
                answers = []
                for name in (there, absent):
                    answer = self.ask(path.replace("ID", name), "kim")
                    for _ in range(8):
                        if not answer.held:
                            break
                        self.lab.tick()
                    head = [answer.header(each) for each in ("content-type", "etag", "retry-after")]
                    answers.append((answer.status, head, answer.body().replace(name.encode(), b"ID")))
                fields = [{k: v for k, v in answer.items() if k not in ("cursor", "oldest_cursor", "stale_s", "clusters")} for answer in map(_json, answers)]
                self.assertEqual(answers[0][:2], answers[1][:2], path)
                self.assertEqual(fields[0], fields[1], path)

    def test_wrong(self) -> None:
        """What is not so is refused, where nothing is hidden too."""
        self.assertEqual(self.ask("/v1/jobs", "wrong").status, 401)

    def test_found_out_later(self) -> None:
        """It may take a while to find out who asks; a client that leaves meanwhile is forgotten."""
        says = Says()
        says.waits = []
        self.lab.serve(authenticators=[says])
        self.says(HIDES)
        asked, left = self.ask("/v1/jobs", "kim"), self.ask("/v1/jobs", "lee")
        self.assertTrue(asked.held and left.held)
        left.deferred.cancel()
        for waiting in says.waits:
            waiting.callback(None)
        self.assertEqual([job["id"] for job in asked.json()["jobs"]], ["1"])
        self.assertFalse(self.lab.resource.busy)

    def test_left_before_it_is_found_out(self) -> None:
        """Nothing is held, or looked for, for a client that has left by then."""
        says = Says()
        says.waits = []
        self.lab.serve(authenticators=[says])
        left = self.ask("/v1/changes?since=now&wait=600", "kim")
        left.deferred.cancel()
        self.lab.treq.flush()
        for waiting in says.waits:
            waiting.callback(None)
        self.assertEqual((self.lab.registry.held, self.lab.resource.busy), (0, False))


class NotKnownTests(AccessCase):
    """Before the scheduler has said whether it hides jobs."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.serve(authenticators=[Says()])
        self.says(None)

    def test_nobody(self) -> None:
        """Who does not say who he is waits for that, and gets 503 if it does not come; the jobs that are known are not shown."""
        for path in ROUTES:
            answer = self.ask(path)
            self.assertTrue(answer.held, path)
            self.lab.clock.advance(PATIENCE_S)
            self.assertEqual(answer.status, 503, path)
            self.assertIn("memory", answer.json()["detail"])
            self.assertGreaterEqual(int(answer.header("retry-after") or 0), 1)
            self.assertNotIn(b"secret", answer.body())

    def test_it_turns_out(self) -> None:
        """Who waits is answered as soon as it is known: with what may be shown."""
        for facts, status in ((OPEN, 200), (HIDES, 401)):
            self.says(None)
            answer = self.ask("/v1/jobs/memory/1")
            self.assertTrue(answer.held)
            self.says(facts)
            self.assertEqual(answer.status, status)
            self.lab.service.hiding._journal.keep("hides_jobs", "{}")

    def test_own_jobs(self) -> None:
        """One's own jobs are shown as always, one by one and by one's name."""
        answers = [
            self.settled(path, "kim")
            for path in ("/v1/jobs/memory/1", "/jobstatus?jobId=1", "/v1/jobs?user=kim", "/v1/changes?since=0&user=kim", "/v1/wait?job=1&wait=0")
        ]
        self.assertEqual([answer.status for answer in answers], [200] * 5)
        self.assertEqual(answers[0].json()["job"]["name"], "secret")

    def test_others_jobs(self) -> None:
        """What would show another's is 503, whether there is such a job or not: lists without one's name, other ids."""
        for path in (
            "/v1/jobs", "/v1/jobs?user=lee", "/v1/jobs?user=kim&user=lee", "/v1/changes?since=0", "/v1/events", "/v1/jobs/memory/2",
            "/v1/jobs/memory/7", "/jobstatus?jobId=2", "/v1/wait?job=1&job=2&wait=0", "/v1/wait?job=7&wait=0", "/v1/workflows/-/w7", "/v1/workflows/lee/w7",
            "/v1/workflows", "/v1/wait?workflow=-/w7&wait=0", "/v1/changes?workflow=lee/w7",
        ):  # fmt: skip
            answer = self.settled(path, "kim")
            self.assertEqual((answer.status, bool(answer.header("retry-after"))), (503, True), path)
            self.assertNotIn(b"hushed", answer.body())

    def settled(self, path: str, user: str) -> Pending:
        """The answer, after as long as a request waits for what the scheduler says."""
        answer = self.ask(path, user)
        self.assertTrue(answer.held, path)
        self.lab.clock.advance(PATIENCE_S)
        return answer

    def test_after_a_restart(self) -> None:
        """That jobs were hidden is known from before: nobody sees them, and each user his own, at once."""
        self.says(HIDES)
        self.says(None)
        self.assertEqual((self.ask("/v1/jobs").status, self.listed("kim")), (401, ["1"]))


def _json(answer: tuple[int, Any, bytes]) -> dict[str, Any]:
    found = json.loads(answer[2])
    return found if isinstance(found, dict) else {"value": found}


class OperatorTests(AccessCase):
    """``/metrics`` and ``/readyz``, where clients can say who they are."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.serve(authenticators=[Says()])

    def both(self, user: str | None) -> tuple[int, int, list[str]]:
        """The statuses of both, and what ``/readyz`` tells."""
        ready = self.ask("/readyz", user)
        return self.ask("/metrics", user).status, ready.status, list(ready.json())

    def test_hidden(self) -> None:
        """Operators see both, three times; a user may not see metrics, who is nobody must say who he is; both know whether it is ready."""
        self.says(HIDES)
        everything = list(self.ask("/readyz", "root+operator").json())
        self.assertIn("queues", everything)
        for _ in range(3):
            self.assertEqual(self.both("root+operator"), (200, 200, everything))
            self.assertEqual(self.both("kim"), (403, 200, ["status"]))
            self.assertEqual(self.both(None), (401, 200, ["status"]))
        self.assertEqual(self.ask("/readyz", "wrong").json(), {"status": "ready"})

    def test_not_ready(self) -> None:
        """Whoever asks, the status says that it is not."""
        self.says(HIDES)
        self.lab.service.announce_end()
        answer = self.ask("/readyz")
        self.assertEqual((answer.status, answer.json()), (503, {"status": "not ready"}))

    def test_unknown(self) -> None:
        """While it is not known whether jobs are hidden, nobody but operators is told more; health checks do not wait for it."""
        self.says(None)
        self.assertEqual(self.ask("/readyz").json(), {"status": "ready"})
        metrics = self.ask("/metrics")
        self.assertTrue(metrics.held)
        self.lab.clock.advance(PATIENCE_S)
        self.assertEqual((metrics.status, self.ask("/metrics", "root+operator").status), (503, 200))

    def test_who_that_is(self) -> None:
        """A page is told who opened it, as far as that is known: nobody else, and at no other address."""
        for facts in (OPEN, HIDES):
            self.says(facts)
            for user, name in (("kim", "kim"), ("root+operator", "root"), (None, None)):
                self.assertEqual(self.ask("/v1/jobs?limit=1", user).header("jobpush-user"), name)
                self.assertIsNone(self.ask("/v1/changes", user).header("jobpush-user"))

    def test_versions(self) -> None:
        """Operators are told in metrics; nobody else is, at any address that has no jobs, unless the administrator says so."""
        paths = ("/metrics", "/readyz", "/healthz", "/openapi.json", "/docs", "/", "/dashboard", "/none")
        for show in (False, True):
            for facts in (OPEN, HIDES):
                self.lab.serve(authenticators=[Says()], show_version=show)
                self.says(facts)
                for user in ("root+operator", "kim", None):
                    tell = [path for path in paths if __version__.encode() in self.ask(path, user).body()]
                    operates = user == "root+operator"
                    both = show and (operates or facts is OPEN)
                    self.assertEqual(tell, ["/metrics", "/readyz"] if both else ["/metrics"] if operates else [], (show, facts, user))

    def test_open(self) -> None:
        """Where everybody is shown all jobs, both are for everybody, as where nobody can say who he is."""
        for facts, policy in ((OPEN, Policy()), (HIDES, Policy(Anonymous.ALWAYS))):
            self.lab.serve(policy=policy, authenticators=[Says()])
            self.says(facts)
            for user in (None, "kim"):
                metrics, ready, told = self.both(user)
                self.assertEqual((metrics, ready, "queues" in told), (200, 200, True))
        self.lab.serve()
        self.says(HIDES)
        self.assertEqual(self.both(None)[0], 200)


class SameWayTests(AccessCase):
    """Another's job is looked for as one that does not exist is: neither words nor time tell them apart."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.serve(authenticators=[Says()])
        self.lab.set("20_4", "RUNNING", user="lee", aliases=("37",))
        self.lab.set("20_5", "RUNNING", user="kim", aliases=("38",))

    def done(self, asked: Pending) -> Pending:
        """An answer that has come, after some looks."""
        for _ in range(8):
            if not asked.held:
                break
            self.lab.tick()
        return asked

    def test_aliases(self) -> None:
        """An id that stands for another's job is not told from one that stands for none: its own id is as secret as the job."""
        self.says(HIDES)
        self.assertEqual(self.ask("/v1/jobs/memory/38", "kim").json()["job"]["id"], "20_5")
        for path in (
            "/v1/jobs/memory/37", "/v1/jobs/memory/37?since=0&wait=3", "/jobstatus?jobId=37", "/jobstatus?jobId=37&since=now",
            "/v1/wait?job=37&wait=3", "/v1/wait?job=37&wait=0", "/v1/jobs?job=37", "/v1/changes?since=0&job=37&wait=0",
        ):  # fmt: skip
            answer = self.done(self.ask(path, "kim"))
            self.assertNotIn(b"20_4", answer.body(), path)
            self.assertIn(answer.status, (200, 404))
        body = json.dumps({"jobs": ["memory/37", "memory/38"]})
        answer = self.lab.request("PUT", "/v1/workflows/w", data=body.encode(), headers={USER_HEADER: "kim"})
        self.assertEqual((answer.status, b"20_4" in answer.body(), b"20_5" in answer.body()), (201, False, True))

    def test_accounting(self) -> None:
        """Is asked about both, once in a while; about what its owner asks for, which is known, it is not asked."""
        self.lab.queue.facts = QueueFacts(sees_all=True, hides_jobs=True, accounting=True, evidence="PrivateData=jobs")
        self.says(self.lab.queue.facts)
        self.lab.queue.records["2"] = self.lab.queue.jobs["2"]
        for path in ("/v1/jobs/memory/ID", "/jobstatus?jobId=ID&timeout=0"):
            for job_id in ("2", "77"):
                before = len(self.lab.queue.recorded_for)
                for _ in range(3):
                    asked = self.ask(path.replace("ID", job_id), "kim")
                    self.assertEqual((self.done(asked).status, job_id), (404, job_id))
                asked_for = self.lab.queue.recorded_for[before:]
                self.assertEqual(asked_for, [(job_id,)], path)
            self.lab.clock.run(UNKNOWN_S + 1)
        before = len(self.lab.queue.recorded_for)
        for user, job_id in (("lee", "2"), ("pat+operator", "2"), ("kim", "1")):
            self.assertEqual(self.ask(f"/v1/jobs/memory/{job_id}", user).status, 200)
        self.assertEqual(len(self.lab.queue.recorded_for), before)

    def test_looks(self) -> None:
        """A look for a single job would be shorter if it is there: who may not see all waits for one at all jobs."""
        self.says(HIDES)
        monitor, named = self.lab.service.monitors["memory"], []
        fresh = monitor.fresh
        self.patch(monitor, "fresh", lambda jobs=(), client=None: (named.append(list(jobs)), fresh(jobs, client))[1])
        for user, wanted in (("kim", [[], []]), ("pat+operator", [["77"]])):
            for job_id in ("2", "77") if user == "kim" else ("77",):
                self.done(self.ask(f"/v1/jobs/memory/{job_id}?wait=3", user))
                self.done(self.ask(f"/v1/wait?job={job_id}&wait=3", user))
            self.assertEqual(named, [names for names in wanted for _ in range(2)], user)
            named.clear()
