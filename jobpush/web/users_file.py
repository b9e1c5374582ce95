"""
A file of users with passwords, for sites without any other way; HTTP Basic on a unix socket or over TLS.

A line is ``NAME:ROLES:HASH``, with roles separated by commas, and a hash of Argon2id. `jobpush users` writes it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from threading import Thread
from typing import Any

import attrs
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.auth_types import UsersOptions
from jobpush.runtime.reload import CannotReload
from jobpush.web.identity import IAuthenticator, Refused, only
from jobpush.web.peers import peer_uid
from jobpush.web.principal import Principal, Role, is_user_name
from jobpush.web.problems import Problem
from jobpush.web.requests import ClientRequest

#: Threads that check passwords, each with some 64 MB while it does, and passwords that are checked or wait for that, at most.
THREADS = 2
MOST_WAITING = 16

#: Seconds for which a password that was right is not checked again.
KEPT_S = 300.0

#: Bytes of a password, at most.
MOST_PASSWORD = 1024

#: After a wrong password the next one of the same name from the same place is looked at a second later, then two, four, at most
#: so many. After ten of one name, or from one place, any of these waits for two seconds.
LONGEST_PAUSE_S = 60.0
FREE, PAUSE_S = 10, 2.0

#: Seconds after which wrong passwords are forgotten, and of how many names and places they are remembered.
FORGOTTEN_S = 600.0
MOST_REMEMBERED = 10_000


@attrs.frozen
class User:
    """A line of the file."""

    roles: frozenset[Role]
    hash: str = attrs.field(repr=False)


def read_users(path: str) -> Mapping[str, User]:
    """
    Return the users of a file.

    :raise BadQueueOption: naming the file and the line; never what is in it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o007:
                raise BadQueueOption(f"{path}: everybody may read or write it; take that away with chmod o= {path}")
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadQueueOption(f"{path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    found: dict[str, User] = {}
    known = {role.value: role for role in Role}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        roles, _, hashed = rest.partition(":")
        words = [word for word in roles.split(",") if word]
        if not is_user_name(name) or name in found or not set(words) <= set(known) or not _is_hash(hashed):
            raise BadQueueOption(f"{path}, line {number}: expected NAME:ROLES:HASH, as jobpush users writes it, each name once")
        found[name] = User(frozenset(known[word] for word in words), hashed)
    return found


def _is_hash(text: str) -> bool:
    try:
        return text.startswith("$argon2id$") and bool(extract_parameters(text))
    except InvalidHashError:
        return False


@attrs.define
class _Wrong:
    """Wrong passwords: how many, when the last one came, and until when none is looked at; by the reactor's time."""

    count: int
    last: float
    until: float


class WrongPasswords:
    """
    Who has to wait after wrong passwords.

    :param seconds: returns the reactor's time.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._known: OrderedDict[tuple[str, ...], _Wrong] = OrderedDict()

    def pause(self, name: str, place: str) -> float:
        """Return for how many seconds no password of that name is looked at from there; 0 if one is."""
        now = self._seconds()
        found = [self._known[key] for key in _keys(name, place) if key in self._known]
        return max((each.until - now for each in found), default=0.0)

    def wrong(self, name: str, place: str) -> None:
        """One was wrong."""
        now = self._seconds()
        for key in _keys(name, place):
            before = self._known.pop(key, None)
            count = 1 if before is None or now - before.last > FORGOTTEN_S else before.count + 1
            pause = PAUSE_S if count > FREE else 0.0
            if key[0] == "both":
                pause = min(LONGEST_PAUSE_S, 2.0 ** min(count - 1, 10))
            self._known[key] = _Wrong(count, now, now + pause)
        while len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)

    def right(self, name: str, place: str) -> None:
        """One was right."""
        self._known.pop(("both", name, place), None)


def _keys(name: str, place: str) -> tuple[tuple[str, ...], ...]:
    return ("both", name, place), ("name", name), ("place", place)


@implementer(IAuthenticator)
class UsersFile:
    """
    ``Authorization: Basic``, on a unix socket or over TLS.

    :param reactor: whose time and threads are used.
    :ivar on_revoked: as `jobpush.web.identity.Revoking` has it.
    """

    how = "sign in with a name and a password"
    explicit = True

    def __init__(self, reactor: Any, path: str, hasher: PasswordHasher | None = None) -> None:
        self._reactor = reactor
        self._path = path
        self._hasher = hasher or PasswordHasher()
        self._users = read_users(path)
        #: What is checked for a name that is not there: that takes as long.
        self._nobody = self._hasher.hash(secrets.token_hex())
        self._wrong = WrongPasswords(reactor.seconds)
        self._secret = secrets.token_bytes(32)
        #: By what stands for a name and a password: until when it is right, and who waits for that to be found out.
        self._right: dict[bytes, float] = {}
        self._checking: dict[bytes, list[Deferred[bool]]] = {}
        self._places: dict[tuple[str, str], bytes] = {}
        self._pool: ThreadPool | None = None
        self.on_revoked: list[Callable[[Callable[[Principal], bool]], None]] = []

    def principal(self, request: ClientRequest) -> Deferred[Principal | None]:
        try:
            said = _basic(request)
            if said is None:
                return succeed(None)
            uid = peer_uid(request.channel.transport)
            if uid is None and ISSLTransport(request.channel.transport, None) is None:
                raise Refused(403, "a password is taken on a unix socket or over TLS alone", "Authorization")
            place = f"uid {uid}" if uid is not None else str(getattr(request.channel.transport.getPeer(), "host", ""))
            return self._checked(*said, place)
        except Problem as problem:
            return fail(problem)

    def _checked(self, name: str, password: bytes, place: str) -> Deferred[Principal | None]:
        key = hmac.digest(self._secret, name.encode() + b"\0" + password, "sha256")
        if self._reactor.seconds() < self._right.get(key, 0.0) and name in self._users:
            return succeed(self._principal_of(name))
        pause = self._wrong.pause(name, place)
        if pause > 0.0 or self._places.get((name, place), key) != key:
            headers = {"Retry-After": str(max(1, math.ceil(pause)))}
            raise Refused(429, "wait before the next password", headers=headers, who=name, why="wrong passwords came before")
        waiting: Deferred[bool] = Deferred()
        if key in self._checking:
            self._checking[key].append(waiting)
        else:
            if len(self._checking) >= MOST_WAITING:
                raise Problem(503, "too many passwords are being checked", headers={"Retry-After": "2"}, close=True)
            self._checking[key], self._places[name, place] = [waiting], key
            user = self._users.get(name)
            hashed = self._nobody if user is None else user.hash
            checking = deferToThreadPool(self._reactor, self._threads(), self._verify, hashed, password)
            checking.addBoth(self._answered, key, name, place, user)
        return waiting.addCallback(self._result, name)

    def _verify(self, hashed: str, password: bytes) -> bool:
        """On a thread."""
        try:
            return self._hasher.verify(hashed, password)
        except Argon2Error:
            return False

    def _answered(self, right: bool | Failure, key: bytes, name: str, place: str, user: User | None) -> None:
        waiting = self._checking.pop(key)
        self._places.pop((name, place), None)
        # What has changed in the file meanwhile counts: nobody is known by a password of before.
        good = right is True and user is not None and self._users.get(name) == user
        if good:
            self._wrong.right(name, place)
            if len(self._right) >= MOST_REMEMBERED:
                self._right.clear()
            self._right[key] = self._reactor.seconds() + KEPT_S
        elif not isinstance(right, Failure):
            self._wrong.wrong(name, place)
        for each in waiting:
            if isinstance(right, Failure):
                each.errback(right)
            else:
                each.callback(good)

    def _result(self, right: bool, name: str) -> Principal:
        if not right or name not in self._users:
            headers = {"WWW-Authenticate": 'Basic realm="jobpush"'}
            raise Refused(401, "the name or the password is wrong", headers=headers, who=name)
        return self._principal_of(name)

    def _principal_of(self, name: str) -> Principal:
        user = self._users[name]
        mark = hashlib.sha256(self._secret + user.hash.encode()).hexdigest()[:16]
        return Principal(name, roles=user.roles, credential=f"users:{name}:{mark}")

    def _threads(self) -> ThreadPool:
        if self._pool is None:
            self._pool = ThreadPool(0, THREADS, "passwords")
            self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
            self._pool.start()
        return self._pool

    def reload(self) -> str | None:
        """
        Read the file again. What is held for who is not in it any more, or has another password or other roles, is
        answered 401.

        :return: what was done, for the log; None if nothing has changed.
        :raise CannotReload: if it cannot be read; the users of before stay.
        """
        try:
            users = read_users(self._path)
        except BadQueueOption as error:
            raise CannotReload(str(error)) from None
        gone = {self._principal_of(name).credential for name, user in self._users.items() if users.get(name) != user}
        changed, self._users = users != self._users, users
        self._right.clear()
        if gone:
            for revoked in self.on_revoked:
                revoked(lambda principal: principal.credential in gone)
        return f"{len(users)} users" if changed else None


def _basic(request: ClientRequest) -> tuple[str, bytes] | None:
    """
    Return the name and the password of a request; None if it has none.

    :raise Problem: 400, if it is malformed.
    """
    kind, _, text = (only(request, "Authorization") or "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(text.strip().encode("ascii"), validate=True).partition(b":")
        user = name.decode("utf-8")
    except (UnicodeError, binascii.Error, ValueError):
        raise Refused(400, "the Authorization header is malformed", "Authorization") from None
    if not colon or not is_user_name(user) or len(password) > MOST_PASSWORD:
        raise Refused(400, "the Authorization header is malformed", "Authorization")
    return user, password


def make(reactor: Any, options: UsersOptions) -> UsersFile:
    """
    Return what ``--auth users`` makes.

    :raise BadQueueOption: if its file cannot be read.
    """
    if options.file is None:
        raise BadQueueOption("expected file=PATH, which jobpush users add makes")
    return UsersFile(reactor, options.file)
