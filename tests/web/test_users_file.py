"""A file of users with passwords."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.auth_types import UsersFactory
from jobpush.runtime.reload import CannotReload
from jobpush.web import users_file
from jobpush.web.access import Policy
from jobpush.web.principal import Principal, Role
from jobpush.web.users_file import LONGEST_PAUSE_S, MOST_WAITING, UsersFile, WrongPasswords, read_users
from tests.support import USER_HEADER, LabCase, Pending, Says

#: One that takes no time.
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

RIGHT = "correct horse"


def line(name: str, roles: str = "", password: str = RIGHT) -> str:
    return f"{name}:{roles}:{HASHER.hash(password)}\n"


class FileTests(SynchronousTestCase):
    """`read_users`."""

    def path(self, text: str, mode: int = 0o640) -> str:
        path = os.path.abspath(self.mktemp())
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def test_read(self) -> None:
        """Names, roles and hashes, which are not shown."""
        found = read_users(self.path("# a\n\n" + line("kim") + line("op", "operator,admin")))
        self.assertEqual({name: user.roles for name, user in found.items()}, {"kim": frozenset(), "op": {Role.OPERATOR, Role.ADMIN}})
        self.assertNotIn("argon2", repr(found))

    def test_errors(self) -> None:
        """The file and the line; never what is in it."""
        good = line("kim")
        for text, mode, words in (
            (good, 0o644, "chmod o="), (good + "lee::x", 0o640, "line 2"), (good + good, 0o640, "line 2"), (line("kim", "root"), 0o640, "line 1"),
            (good.replace("argon2id", "argon2i"), 0o640, "line 1"), ("kim::$6$abc$def\n", 0o640, "line 1"), ("kim\n", 0o640, "line 1"), (line("@a"), 0o640, "line 1"),
        ):  # fmt: skip
            error = str(self.assertRaises(BadQueueOption, read_users, self.path(text, mode)))
            self.assertIn(words, error)
            self.assertNotIn("$", error)
        self.assertIn("No such file", str(self.assertRaises(BadQueueOption, read_users, "/nowhere/x")))
        self.assertIn("file=PATH", str(self.assertRaises(BadQueueOption, UsersFactory().generate_authenticator, None, {})))


class WrongTests(SynchronousTestCase):
    """`WrongPasswords`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wrong = WrongPasswords(self.clock.seconds)

    def test_same_name_and_place(self) -> None:
        """Each takes twice as long as the one before, up to a minute; a right one ends that; ten minutes of nothing too."""
        for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
            self.wrong.wrong("kim", "a")
            self.assertEqual(self.wrong.pause("kim", "a"), seconds)
            self.clock.advance(seconds)
            self.assertEqual(self.wrong.pause("kim", "a"), 0.0)
        self.wrong.right("kim", "a")
        self.wrong.wrong("kim", "a")
        self.assertEqual(self.wrong.pause("kim", "a"), 1)
        self.wrong.wrong("kim", "a")
        self.clock.advance(601)
        self.wrong.wrong("kim", "a")
        self.assertEqual(self.wrong.pause("kim", "a"), 1)

    def test_others(self) -> None:
        """Others wait two seconds at most: one who guesses keeps nobody else out."""
        for number in range(30):
            self.wrong.wrong("kim", "a")
            self.wrong.wrong(f"user{number}", "b")
        self.assertEqual(self.wrong.pause("kim", "a"), LONGEST_PAUSE_S)
        self.assertEqual([self.wrong.pause(*key) for key in (("kim", "c"), ("lee", "b"), ("lee", "c"))], [2, 2, 0])

    def test_bounded(self) -> None:
        """The oldest are forgotten."""
        for number in range(users_file.MOST_REMEMBERED):
            self.wrong.wrong(f"user{number}", "a")
        self.assertLessEqual(len(self.wrong._known), users_file.MOST_REMEMBERED)
        self.assertEqual(self.wrong.pause("user0", "z"), 0)


class SignInTests(LabCase):
    """Requests with passwords, which are checked when the test says so."""

    def setUp(self) -> None:
        super().setUp()
        for number, user in (("1", "kim"), ("2", "lee")):
            self.lab.queue.set(number, "RUNNING", user=user)
        self.lab.tick()
        self.path = os.path.abspath(self.mktemp())
        self.write(line("kim"), line("lee", password="another horse"), line("op", "operator"))
        self.waiting: list[Callable[[], None]] = []
        self.patch(users_file, "deferToThreadPool", self.defer)
        self.patch(users_file, "peer_uid", lambda transport: self.uid)
        self.uid: int | None = 1000
        self.users = UsersFile(self.lab.clock, self.path, HASHER)
        self.users._threads = lambda: None  # type: ignore[method-assign,assignment,return-value]
        self.lab.serve(100, Policy(private=True), [self.users, Says(explicit=False)])

    def write(self, *lines: str) -> None:
        with open(os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o640), "w") as file:
            file.writelines(lines)

    def defer(self, reactor: Any, pool: Any, function: Any, *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append(lambda: done.callback(function(*arguments)))
        return done

    def begin(self, name: str, password: str = RIGHT, path: str = "/v1/jobs", **headers: str) -> Pending:
        said = base64.b64encode(f"{name}:{password}".encode()).decode()
        return self.lab.request("GET", path, headers={"authorization": f"Basic {said}", **headers})

    def check(self) -> int:
        """Let all that wait be checked; how many."""
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each()
        return len(waiting)

    def ask(self, *arguments: str, **headers: str) -> Any:
        """The jobs, or the status."""
        answer = self.begin(*arguments, **headers)
        self.check()
        return [job["id"] for job in answer.json()["jobs"]] if answer.status == 200 else answer.status

    def test_own_jobs(self) -> None:
        """Each sees his own, an operator all; it goes before the peer, and nothing makes up for a wrong one."""
        self.assertEqual((self.ask("kim"), self.ask("lee", "another horse"), self.ask("op")), (["1"], ["2"], ["1", "2"]))
        self.assertEqual(self.ask("lee", "another horse", **{USER_HEADER: "kim"}), ["2"])
        self.assertEqual(self.ask("lee", "wrong", **{USER_HEADER: "lee"}), 401)

    def test_once(self) -> None:
        """A right password is checked once in five minutes, however many ask with it at once; a wrong one is no key to it."""
        three = [self.begin("kim") for _ in range(3)]
        self.assertEqual(self.check(), 1)
        self.assertEqual([each.status for each in three], [200] * 3)
        self.assertEqual((self.begin("kim").status, self.check()), (200, 0))
        self.assertEqual(self.ask("kim", RIGHT + "x"), 401)
        self.assertEqual(self.begin("kim").status, 200)
        self.lab.clock.advance(301)
        self.begin("kim")
        self.assertEqual(self.check(), 1)

    def test_wrong(self) -> None:
        """A wrong password, and a name that is not there, are the same 401, and both are checked; then one has to wait."""
        for name in ("kim", "eve"):
            answer = self.begin(name, "wrong")
            self.assertEqual(self.check(), 1)
            self.assertEqual((answer.status, answer.header("www-authenticate")), (401, 'Basic realm="jobpush"'))
            again = self.begin(name)
            self.assertEqual((again.status, again.header("retry-after"), self.check()), (429, "1", 0))
        self.lab.clock.advance(1)
        self.assertEqual((self.ask("kim"), self.ask("eve")), (["1"], 401))

    def test_at_once(self) -> None:
        """Many passwords at once are not looked at at once, for one name; and so many for all."""
        first, second = self.begin("kim", "a"), self.begin("kim", "b")
        self.assertEqual((second.status, first.held), (429, True))
        for number in range(MOST_WAITING - 1):
            self.begin(f"user{number}")
        self.assertEqual(self.begin("lee").status, 503)
        self.assertEqual(self.check(), MOST_WAITING)
        self.assertEqual(first.status, 401)

    def test_where(self) -> None:
        """On a unix socket, or over TLS; nowhere else is a password looked at."""
        self.uid = None
        answer = self.begin("kim")
        self.assertEqual((answer.status, self.check()), (403, 0))
        self.assertIn("unix socket or over TLS", answer.json()["detail"])

    def test_over_tls(self) -> None:
        """There too."""
        self.uid = None
        transport = type("Transport", (), {"getPeer": lambda self: None})()
        directlyProvides(transport, ISSLTransport)
        from twisted.web.http_headers import Headers

        headers = Headers({b"authorization": [b"Basic " + base64.b64encode(f"kim:{RIGHT}".encode())]})
        request: Any = type("Request", (), {"requestHeaders": headers, "channel": type("Channel", (), {"transport": transport})})
        found = self.users.principal(request)
        self.check()
        self.assertEqual(getattr(self.successResultOf(found), "name", None), "kim")

    def test_malformed(self) -> None:
        """400, without a password looked at."""
        for text in ("", "x", "!!!", base64.b64encode(b"kim").decode(), base64.b64encode(b"\xff:x").decode(), base64.b64encode(b":x").decode(),
                     base64.b64encode(b"a b:x").decode(), base64.b64encode(b"kim:" + b"x" * 1025).decode(), "Basic a2lt"):  # fmt: skip
            answer = self.lab.request("GET", "/v1/jobs", headers={"authorization": f"Basic {text}"})
            self.assertEqual((answer.status, self.check()), (400, 0), text)

    def test_reload(self) -> None:
        """Who has another password, other roles, or is gone, is somebody else: what is held ends; the others go on."""
        self.write(line("kim"), kept := line("lee", password="another horse"), line("op", "operator"))
        self.users.reload()
        self.assertIsNone(self.users.reload())
        held = []
        for name, password in (("kim", RIGHT), ("lee", "another horse"), ("op", RIGHT)):
            held.append(self.begin(name, password, "/v1/changes?since=now&wait=600"))
            self.check()
        self.assertEqual([each.held for each in held], [True] * 3)
        self.write(line("kim", password="a new password"), kept)
        self.assertEqual(self.users.reload(), "2 users")
        self.assertEqual((held[0].status, held[1].held, held[2].status), (401, True, 401))
        self.assertEqual((self.ask("kim"), self.ask("lee", "another horse"), self.ask("op")), (401, ["2"], 401))
        self.lab.clock.advance(5)
        self.assertEqual(self.ask("kim", "a new password"), ["1"])
        self.write("x")
        self.assertRaises(CannotReload, self.users.reload)
        self.assertEqual(self.ask("kim", "a new password"), ["1"])

    def test_changed_while_it_is_checked(self) -> None:
        """A password of before is none."""
        asked = self.begin("kim")
        self.write(line("kim", password="a new password"))
        self.users.reload()
        self.check()
        self.assertEqual(asked.status, 401)

    def test_not_shown(self) -> None:
        """What it is known by holds neither the password nor its hash."""
        found: Principal = self.users._principal_of("kim")
        self.assertNotIn("argon2", repr(found))
