"""Whose a workflow is: who may read, replace and delete it, what it tells of whose jobs, and that this outlives a restart."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.workflow import full_name, kept_name, owner_of
from jobpush.web.access import Anonymous, Policy
from jobpush.web.identity import Identity
from tests.support import Lab, LabCase, Pending, Says, step_until
from tests.web.held.test_connections import House, Stage, bodies
from tests.web.held.test_fast_path import Watch, ask

PRIVATE = Policy(private=True)
OPEN = Policy(private=False)


class NameTests(SynchronousTestCase):
    """Names as clients write them, as they are kept, and as they are told."""

    def test_kept(self) -> None:
        """A bare name is one's own; with an owner, in either form, it is that one's; ``-`` is nobody."""
        for text, asker, expected in (
            ("w", "", "w"), ("w", "kim", "w@kim"), ("kim/w", "", "w@kim"), ("kim/w", "lee", "w@kim"), ("w@kim", "lee", "w@kim"),
            ("-/w", "kim", "w"), ("-/w", "", "w"), ("k@r.org/w", "", "w@k@r.org"), ("w@", "kim", "w@"),
        ):  # fmt: skip
            self.assertEqual(kept_name(text, asker), expected, (text, asker))

    def test_none(self) -> None:
        """What is no name becomes none: nobody comes to what is another's by a trick."""
        for text in ("/w", "kim/", "-/w@kim", "kim/w@lee", "a/.w", "kim/"):
            self.assertEqual(kept_name(text, "lee"), text)

    def test_told(self) -> None:
        """With its owner before it, if it has one."""
        self.assertEqual([full_name(name) for name in ("w", "w@kim", "w@", "w@k@r")], ["w", "kim/w", "w@", "k@r/w"])
        self.assertEqual([owner_of(name) for name in ("w", "w@kim", "w@", "w@k@r")], ["", "kim", "", "k@r"])


class OwnersCase(LabCase):
    """Jobs ``1`` and ``2`` are kim's, ``3`` is lee's."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.queue.set("2", "QUEUED", user="kim")
        self.lab.set("3", "RUNNING", user="lee", name="secret")
        self.lab.serve(policy=PRIVATE, authenticators=[Says()])

    def ask(self, path: str, who: str = "kim", method: str = "GET", body: Any = None) -> Pending:
        """What it says to whom: a user, with roles after ``+``; empty for who says nothing."""
        more = {} if body is None else {"data": json.dumps(body).encode()}
        return self.lab.request(method, path, headers={"x-test-user": who} if who else {}, **more)

    def put(self, name: str = "w", who: str = "kim", jobs: Any = ("memory/1", "memory/2")) -> Pending:
        """A client says which jobs a workflow has."""
        return self.ask(f"/v1/workflows/{name}", who, "PUT", {"jobs": list(jobs)})


class MatrixTests(OwnersCase):
    """Route, role and owner."""

    #: What reads kim's workflow ``w``, by its full name.
    READS = (
        "/v1/workflows/kim/w", "/v1/workflows/w@kim", "/v1/workflows/kim/w?since=0&wait=0", "/v1/workflows/kim/w?until=started&wait=3",
        "/v1/wait?workflow=kim/w&until=started&wait=3", "/v1/changes?since=0&wait=0&workflow=kim/w", "/v1/jobs?workflow=kim/w", "/v1/workflows",
    )  # fmt: skip

    def answer(self, path: str, who: str) -> tuple[int, bytes]:
        """The status and the body."""
        answer = self.ask(path, who)
        for _ in range(8):
            if not answer.held:
                break
            self.lab.tick()
        return answer.status, answer.body()

    def test_reading(self) -> None:
        """Its owner and operators; to another it is as one that does not exist, byte by byte; nobody gets no answer."""
        self.assertEqual(self.put().status, 201)
        self.lab.set("1", "RUNNING", user="kim", name="align")
        for path in self.READS:
            for who in ("kim", "pat+operator", "pat+admin"):
                status, body = self.answer(path, who)
                self.assertEqual((status, b"memory/1" in body or b'"1"' in body or b"kim/w" in body), (200, True), (path, who))
            there, absent = self.answer(path, "lee"), self.answer(path.replace("kim", "bob"), "lee")
            self.assertNotIn(b"memory/1", there[1])
            plain = [re.sub(rb'"(cursor|stale_s|clusters)":[^,]*,', b"", body.replace(b"bob", b"kim")) for _, body in (there, absent)]
            self.assertEqual((there[0], plain[0]), (absent[0], plain[1]), path)
            self.assertEqual(self.answer(path, "")[0], 401, path)

    def test_writing(self) -> None:
        """Its owner and operators; to another, 404 as for one that is unknown, also where all may be read by all."""
        for policy in (PRIVATE, OPEN, Policy(Anonymous.ALWAYS)):
            self.lab.serve(policy=policy, authenticators=[Says()])
            for who, expected in (("kim", (201, 200, 204)), ("pat+operator", (201, 200, 204)), ("lee", (404, 404, 404)), ("", (404, 404, 404))):
                expected = (401, 401, 401) if not who and policy is PRIVATE else expected
                given = [self.put("kim/w", who), self.put("kim/w", who), self.ask("/v1/workflows/kim/w", who, "DELETE")]
                self.assertEqual(tuple(answer.status for answer in given), expected, (policy, who))
            self.put("kim/w")
            for method, body in (("PUT", {"jobs": ["memory/3"]}), ("DELETE", None)):
                there, absent = (self.ask(f"/v1/workflows/{name}/w", "lee", method, body) for name in ("kim", "bob"))
                self.assertEqual((there.status, there.body().replace(b"kim", b"bob")), (404, absent.body()), policy)
            self.assertEqual(len(self.ask("/v1/workflows/kim/w").json()["jobs"]), 2)
            self.ask("/v1/workflows/kim/w", "kim", "DELETE")

    def test_nobodys(self) -> None:
        """Who does not say who he is has those that are nobody's, by a bare name; a user does not; operators do."""
        self.lab.serve(policy=Policy(Anonymous.ALWAYS), authenticators=[Says()])
        self.assertEqual((self.put("w", "").status, self.put("w", "").json()["name"]), (201, "w"))
        self.assertEqual([self.ask("/v1/workflows/w", who).status for who in ("", "kim", "pat+operator")], [200, 404, 404])
        self.assertEqual([self.ask("/v1/workflows/-/w", who).status for who in ("", "kim", "pat+operator")], [200, 200, 200])
        self.assertEqual([self.put("-/w", who).status for who in ("kim", "", "pat+operator")], [404, 200, 200])
        self.assertEqual([self.ask("/v1/workflows/-/w", who, "DELETE").status for who in ("kim", "pat+operator")], [404, 204])

    def test_without_identity(self) -> None:
        """Where nobody can say who he is, all is everybody's, under the old names."""
        self.lab.serve()
        self.lab.set("7", "RUNNING", user="kim", comment="workflow=align")
        self.assertEqual((self.put("w", "").json()["name"], self.ask("/v1/workflows/align@kim", "").json()["name"]), ("w", "align@kim"))
        self.assertEqual([event["workflow"]["name"] for event in self.lab.events() if event["type"] == "workflow"], ["align@kim", "w"])
        self.assertEqual(self.put("align@kim", "").status, 400)
        self.assertEqual([self.ask(f"/v1/workflows/{name}", "", "DELETE").status for name in ("w", "align@kim")], [204, 204])


class BareNameTests(OwnersCase):
    """A name without an owner: one's own."""

    def test_everywhere(self) -> None:
        """In paths, filters, barriers and bodies; what is told has the owner."""
        self.put(who="kim")
        self.put(who="lee", jobs=["memory/3"])
        for who, job in (("kim", "memory/1"), ("lee", "memory/3")):
            told = self.ask("/v1/workflows/w", who).json()
            self.assertEqual((told["name"], told["jobs"][0]["job"]), (f"{who}/w", job))
            self.assertEqual({f"memory/{job['id']}" for job in self.ask("/v1/jobs?workflow=w", who).json()["jobs"]}, {j["job"] for j in told["jobs"]})
            for body in ({"workflows": ["w"], "wait": 0}, {"workflows": [f"{who}/w"], "wait": 0}):
                barrier = self.ask("/v1/wait", who, "POST", body).json()
                self.assertEqual(barrier["open"], [f"{who}/w"])
            events = self.ask("/v1/changes", who, "POST", {"workflows": ["w"], "since": "0", "wait": 0}).json()["events"]
            self.assertEqual({event["workflow"]["name"] for event in events if event["type"] == "workflow"}, {f"{who}/w"})
            self.assertEqual({event["job"]["user"] for event in events if event["type"] == "job"}, {who})

    def test_the_same_bytes(self) -> None:
        """Two users, and an operator, who ask with the same bytes where all see all: each is told of his own."""
        self.lab.serve(policy=OPEN, authenticators=[Says()])
        self.put(who="kim")
        self.put(who="lee", jobs=["memory/3"])
        for path in ("/v1/workflows/w?since=now&wait=60", "/v1/changes?since=now&wait=60&workflow=w"):
            kim, lee, pat = (self.ask(path, who) for who in ("kim", "lee", "pat+operator"))
            self.lab.set("3", "SUSPENDED" if "changes" not in path else "RUNNING", user="lee", name="secret")
            self.assertEqual((kim.held, lee.held), (True, False), path)
            self.assertIn(b"lee/w", lee.body() + self.ask("/v1/workflows/w", "lee").body())
            self.assertEqual(pat.held, "changes" in path)  # there is no workflow of the operator's own

    def test_tags_join_the_owners(self) -> None:
        """A tag makes, and joins, the workflow of the job's user alone, whoever else has one of that name."""
        self.put("align", "kim", jobs=["memory/1"])
        self.lab.set("8", "RUNNING", user="lee", comment="workflow=align")
        self.lab.set("9", "RUNNING", user="kim", comment="workflow=align")
        self.assertEqual([job["job"] for job in self.ask("/v1/workflows/align").json()["jobs"]], ["memory/1", "memory/9"])
        told = self.ask("/v1/workflows/align", "lee").json()
        self.assertEqual((told["name"], told["found"], [job["job"] for job in told["jobs"]]), ("lee/align", True, ["memory/8"]))
        self.assertEqual(self.put("align", "lee", jobs=["memory/3"]).json()["found"], False)


class OthersJobsTests(OwnersCase):
    """A user's workflow has that user's jobs alone."""

    def test_as_one_that_does_not_exist(self) -> None:
        """Another's job in it is told as one that nobody knows, when it is put and when it changes, also in arrays and filters."""
        self.lab.set("5_1", "RUNNING", user="lee")
        told = self.put(jobs=["memory/1", "memory/3", "memory/77", "memory/5"]).json()
        self.lab.set("3", "FAILED", user="lee", name="secret", exit_code=7)
        self.lab.set("5_1", "FAILED", user="lee")
        after = self.ask("/v1/workflows/w").json()
        for answer in (told, after):
            by_job = {job.pop("job"): job for job in answer["jobs"]}
            self.assertEqual((by_job["memory/3"], by_job["memory/5"]), (by_job["memory/77"], by_job["memory/77"]))
            self.assertEqual((answer["counts"], answer["first_failure"]), ({"QUEUED": 1, "UNKNOWN": 3}, None))
        self.assertEqual([job["id"] for job in self.ask("/v1/jobs?workflow=kim/w", "pat+operator").json()["jobs"]], ["1"])

    def test_nobodys_has_all(self) -> None:
        """Operators follow jobs of several users in one that is nobody's, which who sees all alone sees."""
        self.assertEqual(self.put("-/w", "pat+operator", ["memory/1", "memory/3"]).json()["counts"], {"QUEUED": 1, "RUNNING": 1})
        self.assertEqual([self.ask("/v1/workflows/-/w", who).status for who in ("kim", "lee", "", "pat+operator")], [404, 404, 401, 200])


class HeldTests(OwnersCase):
    """What is held when it is deleted or replaced, or when less may be seen."""

    def test_deleted_and_replaced(self) -> None:
        """Who waits is told; another who waits for the same name is not."""
        for method, body in (("DELETE", None), ("PUT", {"jobs": ["memory/2"]})):
            self.put()
            self.lab.set("1", "RUNNING" if method == "PUT" else "QUEUED", user="kim", name="align")
            held = [self.ask("/v1/workflows/w?since=now&wait=60"), self.ask("/v1/workflows/kim/w?since=now&wait=60", "pat+operator")]
            barrier = self.ask("/v1/wait?workflow=w&wait=60")
            other = self.ask("/v1/wait?workflow=kim/w&job=3&wait=60", "lee")
            self.assertEqual([each.held for each in (*held, barrier, other)], [True] * 4)
            self.ask("/v1/workflows/kim/w", "kim", method, body).body()
            step_until(lambda held=held: not any(each.held for each in held), self.lab.tick, most=5)
            for each in held:
                self.assertEqual((each.json()["name"], each.json().get("deleted", False)), ("kim/w", method == "DELETE"))
            self.assertTrue(other.held)
            self.lab.clock.run(61)
            self.assertNotIn(b"memory/1", other.body())

    def test_it_begins_to_hide(self) -> None:
        """A hold on another's is answered as for one that does not exist; on one's own it goes on."""
        self.lab.serve(policy=Policy(), authenticators=[Says()])
        self.put()
        own, other = self.ask("/v1/workflows/w?since=now&wait=60"), self.ask("/v1/workflows/kim/w?since=now&wait=60", "lee")
        self.assertEqual((own.held, other.held), (True, True))
        self.lab.resource.access.policy = PRIVATE  # type: ignore[misc]
        self.lab.resource._changed()
        step_until(lambda: not other.held, self.lab.tick, most=5)
        self.assertEqual((own.held, other.status), (True, 404))
        self.lab.set("1", "RUNNING", user="kim", name="align")
        self.assertEqual(own.json()["name"], "kim/w")


class RestartTests(SynchronousTestCase):
    """A journal that is opened again."""

    def lab(self, path: str, **access: Any) -> Lab:
        lab = Lab(path)
        lab.queue.set("1", "QUEUED", user="kim")
        lab.serve(**access)
        return lab.start()

    def request(self, lab: Lab, path: str, who: str, method: str = "GET", data: bytes | None = None) -> Pending:
        more = {} if data is None else {"data": data}
        return lab.request(method, path, headers={"x-test-user": who} if who else {}, **more)

    def test_owners(self) -> None:
        """Owners, members and room are what they were, and cursors go on."""
        path = self.mktemp()
        known = {"policy": PRIVATE, "authenticators": [Says()]}
        first = self.lab(path, **known)
        told = self.request(first, "/v1/workflows/w", "kim", "PUT", b'{"jobs": ["memory/1"]}').json()
        usage = dict(first.service.workflows.usage)
        first.stop()
        second = self.lab(path, **known)
        self.addCleanup(second.stop)
        self.assertEqual(second.service.workflows.usage, usage)
        self.assertEqual([self.request(second, "/v1/workflows/kim/w", who).status for who in ("kim", "lee")], [200, 404])
        second.set("1", "RUNNING", user="kim")
        events = self.request(second, f"/v1/workflows/w?since={told['cursor']}", "kim").json()["events"]
        self.assertEqual([event["workflow"]["name"] for event in events], ["kim/w"])

    def test_from_without_identity(self) -> None:
        """What was put and found before anybody could say who he is: nobody's, and its user's; its cursors stay valid."""
        path = self.mktemp()
        first = self.lab(path)
        first.set("7", "RUNNING", user="kim", comment="workflow=align")
        cursor = self.request(first, "/v1/workflows/w", "", "PUT", b'{"jobs": ["memory/1"]}').json()["cursor"]
        first.stop()
        second = self.lab(path, policy=PRIVATE, authenticators=[Says()])
        self.addCleanup(second.stop)
        self.assertEqual(self.request(second, "/v1/workflows/align", "kim").json()["name"], "kim/align")
        self.assertEqual([self.request(second, "/v1/workflows/-/w", who).status for who in ("kim", "pat+operator")], [404, 200])
        second.set("7", "COMPLETED", user="kim", comment="workflow=align")
        events = self.request(second, f"/v1/workflows/align?since={cursor}", "kim").json()["events"]
        self.assertEqual([event["workflow"]["state"] for event in events], ["COMPLETED"])
        kept = self.request(second, "/v1/changes?since=0&wait=0&workflow=align", "kim").json()["events"]
        self.assertEqual([e["workflow"]["name"] for e in kept if e["type"] == "workflow"], ["align@kim", "kim/align"])


class PathsTests(Stage):
    """The fast path and the ordinary one, over sockets: the same answers."""

    async def test_owners(self) -> None:
        """Each of two users who send the same bytes, at once and held, is told of his own; another's does not exist."""

        async def scene(house: House) -> Any:
            house.lab.queue.set("1", "RUNNING", name="a", user="kim")
            house.lab.queue.set("3", "RUNNING", user="lee")
            house.lab.tick()
            given, clients, watch = [], {who: house.client() for who in ("kim", "lee", "pat+operator")}, Watch(house)
            for who, job in (("kim", "1"), ("lee", "3")):
                clients[who].get("/v1/workflows/w", f"Authorization: {who}", method="PUT", body=b'{"jobs": ["memory/%s"]}' % job.encode())
                given.append(await clients[who].answers(1))
            paths = ("/v1/workflows/w", "/v1/workflows/w", "/v1/workflows/kim/w", "/v1/wait?workflow=w&wait=0", "/v1/changes?since=0&wait=0&workflow=w")
            given += [await ask(client, *paths, headers=(f"Authorization: {who}",)) for who, client in clients.items()]
            for client_name, client in clients.items():
                client.get("/v1/workflows/w?since=now&wait=60", f"Authorization: {client_name}")
            await house.held(3)  # for all that is known, the operator's may appear in a tag with the next look
            house.lab.set("3", "SUSPENDED", user="lee")
            counts = {who: len(bodies(client.got)) for who, client in clients.items()}
            await clients["lee"].until(lambda: len(bodies(clients["lee"].got)) > counts["lee"])
            self.assertEqual(house.registry.held, 1)
            self.assertEqual(bool(watch.taken), house.without_channels)
            house.lab.clock.advance(61)
            await clients["kim"].until(lambda: len(bodies(clients["kim"].got)) > counts["kim"])
            statuses = {who: re.findall(rb"HTTP/1.1 (\d+)", client.got) for who, client in clients.items()}
            return [given, statuses, [house.plain(clients[who].got) for who in ("lee", "pat+operator")]]

        for policy, kims in ((PRIVATE, b"404"), (OPEN, b"200")):
            given = await self.both(scene, identity=Identity([Says("authorization")]), policy=policy)
            self.assertEqual(given[1]["lee"], [b"201", b"200", b"200", kims, b"200", b"200", b"200"])
            self.assertEqual(given[1]["pat+operator"][:3], [b"404", b"404", b"200"])
            self.assertIn(b"lee/w", given[2][0])
