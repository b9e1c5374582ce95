"""The names and addresses that a service is known by."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime import host_names
from jobpush.runtime.host_names import Authority, KnownHosts, read_authority


class AuthorityTests(SynchronousTestCase):
    """`read_authority`."""

    def test_what_is_one(self) -> None:
        """Names and addresses, with a port or without; case, and a dot at the end, say nothing."""
        for text, host, port in (
            ("a", "a", None), ("A.Example.ORG.", "a.example.org", None), ("a_b-c:80", "a_b-c", 80), ("10.0.0.1:8080", "10.0.0.1", 8080),
            ("[::1]", "::1", None), ("[2001:DB8::1]:443", "2001:db8::1", 443), ("a:", "a", None),
        ):  # fmt: skip
            self.assertEqual(read_authority(text), Authority(host, port), text)

    def test_what_is_none(self) -> None:
        """Users, paths, spaces, percent signs, several hosts, letters of other scripts, brackets around no address."""
        for text in (
            "", ":80", ".", "u@a", "a/b", "a b", "a,b", "a%41", "a:b", "a:80:80", "a:123456", "\xe4", "[::1", "::1", "[a]", "[:::]", "a\n", "[]",
        ):  # fmt: skip
            self.assertIsNone(read_authority(text), text)


class KnownTests(SynchronousTestCase):
    """`KnownHosts`."""

    def setUp(self) -> None:
        self.patch(host_names.socket, "gethostname", lambda: "Login1.cluster.example")

    def test_loopback(self) -> None:
        """Whatever stands for this host itself."""
        hosts = KnownHosts()
        for host in ("localhost", "jobs.localhost", "127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(hosts.knows(host), host)

    def test_its_own_name(self) -> None:
        """The name that the host has, whole and its first part."""
        hosts = KnownHosts()
        self.assertEqual([hosts.knows(name) for name in ("login1.cluster.example", "login1", "cluster.example")], [True, True, False])

    def test_addresses(self) -> None:
        """An address of an interface, and that of the connection; no other, nor one that stands for all or for many."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", 9))
            self.assertTrue(KnownHosts().knows(sock.getsockname()[0]))
        with mock.patch.object(host_names, "_is_of_this_host", lambda address: str(address) == "192.0.2.7"):
            hosts = KnownHosts()
            self.assertEqual([hosts.knows(host) for host in ("192.0.2.7", "192.0.2.8")], [True, False])
            self.assertEqual((hosts.knows("192.0.2.8", "192.0.2.8"), hosts.knows("fe80::1", "fe80::1%eth0")), (True, True))
        for host in ("192.0.2.8", "2001:db8::1", "0.0.0.0", "::", "224.0.0.1", "127.1", "0x7f.1"):
            self.assertFalse(KnownHosts().knows(host), host)

    def test_given(self) -> None:
        """Names that are given, and each name below a domain, but not the domain itself, nor one that only ends alike."""
        hosts = KnownHosts(["Jobs.example.org.", "*.hpc.example"])
        for host, known in {
            "jobs.example.org": True, "example.org": False, "a.jobs.example.org": False, "a.hpc.example": True, "a.b.hpc.example": True,
            "hpc.example": False, "evilhpc.example": False, "jobs.example.org.evil": False,
        }.items():  # fmt: skip
            self.assertIs(hosts.knows(host), known, host)

    def test_give(self) -> None:
        """Others replace those that were given; it is said whether anything has changed."""
        hosts = KnownHosts(["a.example"])
        self.assertEqual((hosts.give(["a.example"]), hosts.give(["b.example"])), (False, True))
        self.assertEqual((hosts.knows("a.example"), hosts.knows("b.example")), (False, True))
        self.assertEqual(hosts.names, ("localhost", "login1", "login1.cluster.example", "b.example"))


class LookUpTests(SynchronousTestCase):
    """`KnownHosts.look_up`."""

    def look_up(self, hosts: KnownHosts, names: Callable[[], Any]) -> None:
        """Returns when the thread has ended."""
        calls: list[tuple[Any, ...]] = []

        class Reactor:
            def callFromThread(self, call: Any, *args: Any) -> None:
                calls.append((call, *args))

        with mock.patch.object(host_names.threading, "Thread", self.thread):
            hosts.look_up(Reactor(), names)  # type: ignore[arg-type]
        for call, *args in calls:
            call(*args)

    @staticmethod
    def thread(target: Callable[[], None], **_: Any) -> Any:
        class Thread:
            def start(self) -> None:
                target()

        return Thread()

    def test_found(self) -> None:
        """What the resolver says is known, once it has said it; addresses among that are not names."""
        hosts = KnownHosts()
        self.assertFalse(hosts.knows("alias.example"))
        self.look_up(hosts, lambda: ["alias.example", "192.0.2.1", "ip6-localhost"])
        self.assertEqual([hosts.knows(name) for name in ("alias.example", "alias", "192.0.2.1", "192")], [True, True, False, False])

    def test_no_resolver(self) -> None:
        """One that fails takes nothing away."""
        hosts = KnownHosts()
        self.look_up(hosts, lambda: ["alias.example"])

        def fails() -> list[str]:
            raise OSError("no resolver")

        self.look_up(hosts, fails)
        self.assertTrue(hosts.knows("alias.example"))

    def test_nothing_waits(self) -> None:
        """A resolver that hangs holds up nothing: neither this call, nor the end of the process."""
        began = time.monotonic()
        threads: list[Any] = []
        make = host_names.threading.Thread

        def keep(**how: Any) -> Any:
            threads.append(make(**how))
            return threads[-1]

        with mock.patch.object(host_names.threading, "Thread", keep):
            KnownHosts().look_up(mock.Mock(), lambda: time.sleep(0.5) or [])  # type: ignore[func-returns-value]
        self.assertLess(time.monotonic() - began, 0.4)
        self.assertTrue(threads[0].daemon)
        threads[0].join()
