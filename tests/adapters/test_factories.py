"""What each type of queue takes."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.options import OptionValues, read_options
from jobpush.adapter.registry import make_queue_from_table
from jobpush_adapters import factories
from jobpush_adapters.factories import (
    GridEngineFactory,
    GridEngineOptions,
    MockFactory,
    PbsFactory,
    PbsOptions,
    SlurmFactory,
    SlurmOptions,
)
from jobpush_adapters.mock import queue as mock
from jobpush_adapters.pbs import queue as pbs
from jobpush_adapters.sge import queue as sge
from jobpush_adapters.slurm import queue as slurm


class OptionTests(SynchronousTestCase):
    """The options of each type."""

    def test_what_names_an_instance(self) -> None:
        """Each adapter takes the options that name its instance, from text and from a table."""
        for kind, options in [
            ("slurm", {"cluster": "alpha", "conf": "/etc/slurm/a.conf", "clusters": "a", "bin": "/opt/slurm/bin"}),
            ("pbs", {"cluster": "gamma", "server": "pbs1.example.org", "home": "/var/spool/pbs", "bin": "/opt/pbs/bin"}),
            ("sge", {"cluster": "beta", "root": "/opt/sge", "cell": "default", "qmaster_port": "6444", "bin": "/opt/sge/bin"}),
            ("sge", {"qmaster_port": 6444, "prefix": ["ssh", "-o", "BatchMode=yes", "login1"]}),
            ("pbs", {"prefix": "ssh -o BatchMode=yes login1"}),
        ]:  # fmt: skip
            queue = make_queue_from_table(reactor, kind, options)
            self.assertEqual((queue.queue_type, queue.cluster), (kind, options.get("cluster", kind)))

    def made(self, kind: str, options: dict[str, object]) -> tuple[str, tuple[object, ...], dict[str, object]]:
        """Return the class that is made with these options, and its arguments."""
        found: list[Any] = []
        for module, name in ((slurm, "SlurmQueue"), (sge, "GridEngineQueue"), (pbs, "PbsQueue"), (mock, "FileQueue"), (mock, "DemoQueue")):
            self.patch(module, name, lambda *positional, _name=name, **named: found.append((_name, positional, named)))
        make_queue_from_table("reactor", kind, options)
        (made,) = found
        return made  # type: ignore[no-any-return]

    COMMON = {"interval": None, "timeout": 20.0, "grace": 60.0, "prefix": (), "directory": None}

    def test_defaults(self) -> None:
        """An adapter gets the defaults of the options that are not given."""
        for kind, name, more in [
            ("slurm", "SlurmQueue", {"conf": None, "conf_server": None, "clusters": None, "follow": (), "probe": None}),
            ("sge", "GridEngineQueue", {"root": None, "cell": None, "qmaster_port": None, "watch": True}),
            ("pbs", "PbsQueue", {"server": None, "home": None, "follow": ()}),
        ]:  # fmt: skip
            self.assertEqual(self.made(kind, {}), (name, ("reactor",), {"cluster": kind, **self.COMMON, **more}))
        few = {"cluster": "mock", "interval": None, "timeout": 5.0, "grace": 5.0}
        self.assertEqual(self.made("mock", {}), ("DemoQueue", ("reactor", 1), few))
        self.assertEqual(self.made("mock", {"file": "/jobs", "seed": 1}), ("FileQueue", ("reactor", "/jobs"), few))

    def test_every_option(self) -> None:
        """Each option arrives as the argument of its name."""
        given = {"cluster": "c", "interval": 3, "timeout": 4, "grace": 5, "bin": "/b"}
        got = {"cluster": "c", "interval": 3.0, "timeout": 4.0, "grace": 5.0, "prefix": (), "directory": "/b"}
        far, there = {"prefix": ["ssh", "x"], "bin": "b"}, {"prefix": ("ssh", "x"), "directory": "b"}
        for kind, options, expected in [
            ("slurm", {**given, "conf": "/s", "clusters": "a", "follow": "/l", "probe": False},
             {**got, "conf": "/s", "conf_server": None, "clusters": "a", "follow": ("/l",), "probe": False}),
            ("slurm", {**given, "conf": "h:1", "probe": True},
             {**got, "conf": None, "conf_server": "h:1", "clusters": None, "follow": (), "probe": True}),
            ("slurm", {**given, **far, "conf": "s.conf"}, {**got, **there, "conf": "s.conf", "conf_server": None, "clusters": None, "follow": (), "probe": None}),
            ("sge", {**given, "root": "/r", "cell": "d", "qmaster_port": 65535, "watch": False},
             {**got, "root": "/r", "cell": "d", "qmaster_port": 65535, "watch": False}),
            ("sge", {**given, **far, "root": "r", "qmaster_port": 1}, {**got, **there, "root": "r", "cell": None, "qmaster_port": 1, "watch": True}),
            ("pbs", {**given, "server": "s", "home": "/h", "follow": "/l"}, {**got, "server": "s", "home": "/h", "follow": ("/l",)}),
        ]:  # fmt: skip
            self.assertEqual(self.made(kind, options)[2], expected)
        self.assertEqual(self.made("mock", {"cluster": "c", "interval": 3, "timeout": 4, "grace": 5, "seed": 7}),
                         ("DemoQueue", ("reactor", 7), {"cluster": "c", "interval": 3.0, "timeout": 4.0, "grace": 5.0}))  # fmt: skip

    def test_probe(self) -> None:
        """The probe is refused for other hosts if it is asked for; by default the adapter decides."""
        for options in ({"probe": True, "clusters": "a"}, {"probe": True, "prefix": "ssh x"}):
            with self.assertRaises(BadQueueOption) as caught:
                self.made("slurm", options)
            self.assertEqual(str(caught.exception), "probe=yes: expected neither clusters= nor prefix=, which are of other hosts")
        self.assertFalse(self.made("slurm", {"probe": False, "clusters": "a"})[2]["probe"])

    def test_unknown(self) -> None:
        """An option that an adapter does not have is refused."""
        for kind in ("slurm", "sge", "pbs", "mock"):
            with self.assertRaises(BadQueueOption) as caught:
                self.made(kind, {"colour": "red"})
            self.assertIn("unknown option 'colour'", str(caught.exception))

    def test_help(self) -> None:
        """The help of each type has each of its options with its default."""
        for factory, kind, names, seconds in [
            (SlurmFactory(), "slurm", "conf clusters follow probe", (20, 60)), (GridEngineFactory(), "sge", "root cell qmaster_port watch", (20, 60)),
            (PbsFactory(), "pbs", "server home follow", (20, 60)), (MockFactory(), "mock", "file seed", (5, 5)),
        ]:  # fmt: skip
            self.assertEqual(factory.queue_type, kind)
            self.assertTrue(factory.queue_help)
            named = [line.partition("=")[0] for line in factory.arg_string_format.split("\n") if not line.startswith(" ")]
            commands = ["bin", "prefix"] if kind != "mock" else []
            self.assertEqual(named[0], "cluster")
            self.assertEqual(sorted(named), sorted(["cluster", *names.split(), "interval", "timeout", "grace", *commands]))
            for default in (kind, *map(str, seconds)):
                self.assertIn(f"default: {default})", factory.arg_string_format)

    def test_detect(self) -> None:
        """Each type finds its own scheduler; the mock queue is never found."""
        for name in ("slurm", "grid_engine", "pbs"):
            self.patch(factories, f"detect_{name}", lambda name=name: name)
        self.assertEqual([factory().detect() for factory in (SlurmFactory, GridEngineFactory, PbsFactory, MockFactory)], ["slurm", "grid_engine", "pbs", None])

    def test_bad_values(self) -> None:
        """A bad value is named with what was expected."""
        for kind, options, told in [
            ("pbs", {"server": "-x"}, "server"), ("pbs", {"server": "a b"}, "server"), ("slurm", {"clusters": "a,b"}, "clusters"),
            ("slurm", {"clusters": "ALL"}, "expected the name of one cluster"), ("slurm", {"conf": "a b"}, "conf='a b': expected a path with a '/'"),
            ("sge", {"qmaster_port": "70000"}, "qmaster_port"), ("sge", {"cell": "../x"}, "cell"), ("sge", {"prefix": "ssh 'x"}, "prefix"),
            ("sge", {"prefix": []}, "prefix"), ("sge", {"prefix": ["ssh", 3]}, "prefix"), ("mock", {"prefix": "ssh x"}, "unknown option 'prefix'"),
        ]:  # fmt: skip
            with self.assertRaises(BadQueueOption) as caught:
                make_queue_from_table(reactor, kind, options)  # type: ignore[arg-type]
            self.assertIn(told, str(caught.exception))


class PathTests(SynchronousTestCase):
    """Paths among the options of a queue."""

    def test_here(self) -> None:
        """Paths of this host are made absolute, by the working directory or that of the configuration file."""
        options = read_options(SlurmOptions, {"conf": "slurm.conf"})
        self.assertEqual(options.path(options.conf), os.path.abspath("slurm.conf"))
        options = read_options(SlurmOptions, OptionValues({"conf": "slurm.conf"}, "/etc/jobpush"))
        self.assertEqual(options.path(options.conf), "/etc/jobpush/slurm.conf")

    def test_where_commands_run(self) -> None:
        """With a prefix they are paths of the other host, and are not changed."""
        options = read_options(GridEngineOptions, OptionValues({"root": "ge", "bin": "~/bin", "prefix": "ssh login1"}, "/etc/jobpush"))
        self.assertEqual((options.path(options.root), options.common()["directory"]), ("ge", "~/bin"))
        self.assertIsNone(read_options(SlurmOptions, {}).path(None))

    def test_always_here(self) -> None:
        """Paths that jobpush itself reads are of this host, with a prefix too."""
        options = read_options(PbsOptions, OptionValues({"home": "pbs", "follow": "log", "prefix": "ssh login1"}, "/etc/jobpush"))
        self.assertEqual((options.home, options.follow), ("/etc/jobpush/pbs", "/etc/jobpush/log"))
