"""Who is at the other end of a unix socket: the kernel says it."""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from jobpush.runtime.accounts import Accounts, NoAnswer
from jobpush.web.identity import IAuthenticator
from jobpush.web.principal import Principal
from jobpush.web.problems import Problem, who_are_you
from jobpush.web.requests import ClientRequest

#: As the kernel has it: pid, uid, gid (unix(7), SO_PEERCRED).
_CREDENTIALS = struct.Struct("3i")


@implementer(IAuthenticator)
class PeerCredentials:
    """
    The user whose process has connected to a unix socket. A uid without a name is nobody.

    :param proxies: the uids of proxies: what they ask is asked for others. Who asks without being named by one is nobody: 401.
    :param anonymous: nobody is answered too, where the administrator has said so.
    """

    how = "use the unix socket"
    explicit = False

    def __init__(self, accounts: Accounts, proxies: frozenset[int] = frozenset(), anonymous: bool = False) -> None:
        self._anonymous = anonymous
        self._accounts = accounts
        self._proxies = proxies

    def principal(self, request: ClientRequest) -> Deferred[Principal | None]:
        uid = peer_uid(request.channel.transport)
        if uid is None:
            return succeed(None)
        if uid in self._proxies:
            return succeed(None) if self._anonymous else fail(who_are_you("the proxy has not said who asks"))
        named = self._accounts.name_of(uid)
        return named.addCallbacks(lambda name: Principal(name, credential="peer") if name else None, no_answer)


def peer_uid(transport: Any) -> int | None:
    """Return the uid of the process at the other end of a connection; None if that is no unix socket."""
    while transport is not None:
        connected = getattr(transport, "socket", None)
        if isinstance(connected, socket.socket):
            if connected.family != socket.AF_UNIX:
                return None
            _, uid, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            return int(uid)
        transport = getattr(transport, "transport", None)
    return None


def no_answer(failure: Failure) -> Any:
    """503, where the user database does not answer."""
    failure.trap(NoAnswer)
    raise Problem(503, str(failure.value), headers={"Retry-After": "5"}, close=True)
