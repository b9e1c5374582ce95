"""
Whose the sockets are at the other ends of this host's own connections: the kernel says it (sock_diag(7)).

The structures are those of linux/inet_diag.h. Nothing here needs a privilege.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing
from ipaddress import ip_address

#: An address and a port, as Python has them: an IPv4 address that is mapped into IPv6 is the former.
Place = tuple[str, int]

#: nlmsghdr: length, type, flags, sequence, pid. inet_diag_req_v2 without the socket's id: family, protocol, extensions,
#: padding, states. inet_diag_sockid: ports, addresses, interface, cookie. inet_diag_msg, after its id: expiry, queues, uid,
#: inode.
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI")
_ID = struct.Struct("!HH16s16s4s8s")
_MESSAGE = struct.Struct("!4xHH16s16s12x")
_REST = struct.Struct("=IIIII")

_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _ERROR, _DONE = 20, 2, 3
_REQUEST_FLAG, _DUMP = 1, 0x300
_NO_COOKIE = b"\xff" * 8

#: All states but TIME_WAIT and LISTEN (tcp_states.h).
_CONNECTED = 0xFFF & ~(1 << 6) & ~(1 << 10)

_MAPPED = bytes(10) + b"\xff\xff"


def owners(port: int) -> dict[Place, int]:
    """
    Return whose each socket of this host is that is connected to that port: uids, by the socket's own address and port. Takes
    some milliseconds for thousands.

    :raise OSError: if the kernel does not say so.
    """
    found: dict[Place, int] = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        identity = _ID.pack(0, port, bytes(16), bytes(16), bytes(4), _NO_COOKIE)
        for place, uid in _ask(family, identity, _DUMP):
            found[place] = uid
    return found


def owner(place: Place, port: int, address: str) -> int | None:
    """
    Return whose a socket of this host is that is connected to a port and an address of it; None if there is none.

    :param place: the socket's own address and port.
    :raise OSError: if the kernel does not say so.
    """
    for family, prefix in ((socket.AF_INET, None), (socket.AF_INET6, _MAPPED)):
        try:
            source, target = (_packed(family, each, prefix) for each in (place[0], address))
        except ValueError:
            continue
        identity = _ID.pack(place[1], port, source, target, bytes(4), _NO_COOKIE)
        for _, uid in _ask(family, identity, 0):
            return uid
    return None


def _packed(family: int, text: str, prefix: bytes | None) -> bytes:
    """Return an address as 16 bytes of that family; one of the other is an error, or is mapped."""
    address = ip_address(text)
    if family == socket.AF_INET:
        if address.version != 4:
            raise ValueError(text)
        return address.packed + bytes(12)
    return address.packed if address.version == 6 else (prefix or b"") + address.packed


def _ask(family: int, identity: bytes, flags: int) -> Iterator[tuple[Place, int]]:
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _CONNECTED) + identity
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_FLAG | flags, 1, 0)
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _SOCK_DIAG)) as asking:
        asking.settimeout(2.0)
        asking.sendto(header + request, (0, 0))
        while True:
            for kind, body in _messages(asking.recv(65536)):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    if number in (0, errno.ENOENT):
                        return
                    raise OSError(number, f"sock_diag: {errno.errorcode.get(number, number)}")
                yield _read(family, body)
                if not flags:
                    return


def _messages(data: bytes) -> Iterable[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + length]
        at += (max(length, _HEADER.size) + 3) & ~3


def _read(family: int, body: bytes) -> tuple[Place, int]:
    port, _, source, _ = _MESSAGE.unpack_from(body)
    uid: int = _REST.unpack_from(body, _MESSAGE.size)[3]
    if family == socket.AF_INET6 and source.startswith(_MAPPED):
        family, source = socket.AF_INET, source[12:]
    return (socket.inet_ntop(family, source[:4] if family == socket.AF_INET else source), port), uid
