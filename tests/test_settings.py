"""The table of the service's options, and the command line and the configuration file that follow from it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.kinds import to_toml
from jobpush.adapter.options import declared
from jobpush.listen_addresses import UnixSocket
from jobpush.polling.nudge_sockets import UnixAddress
from jobpush.setting import Place
from jobpush.settings import CommandLine, ConfigError, Given, Settings, load, make_settings, read_file, settings_at

#: Values as a TOML file may have them.
SCALARS = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(st.characters(codec="utf-8"), max_size=20))
TOML_TEXTS = st.one_of(
    st.one_of(SCALARS, st.lists(SCALARS, max_size=3)).map(to_toml),
    st.sampled_from(["1979-05-27", "07:32:00", "{a = 1}", '[{type = "x"}]', "[[1]]", f"1{'0' * 400}", '"a\\u0000b"']),
)

#: A text for each option that has a value on the command line, and what it stands for. A relative path is relative to the
#: working directory, or to the file's.
TEXTS: dict[str, tuple[str, Any]] = {
    "config": ("a.toml", "a.toml"),
    "port": ("9999", "9999"),
    "hosts": ("Jobs.Example.org", "jobs.example.org"),
    "cors": ("https://Gateway.Example.org:443/", "https://gateway.example.org"),
    "state": ("there", "there"),
    "keep_events": ("5", 5),
    "keep_days": ("0.5", 0.5),
    "interval": ("3", 3.0),
    "max_held": ("7", 7),
    "max_held_each": ("3", 3),
    "max_connections_each": ("400", 400),
    "max_requests": ("900", 900),
    "max_requests_each": ("90", 90),
    "owner_workflows": ("3", 3),
    "owner_workflow_jobs": ("4", 4),
    "owner_workflow_mb": ("5", 5),
    "max_workflows": ("6", 6),
    "max_workflow_jobs": ("8", 8),
    "max_workflow_mb": ("9", 9),
    "access_log": ("log", "log"),
    "static": ("site", "site"),
    "health": ("unix:/run/x:mode=666", UnixSocket("/run/x", 0o666)),
    "socket": ("unix:/run/y", UnixSocket("/run/y", 0o666)),
    "private": ("no", False),
    "operators": ("@staff", "@staff"),
    "nudge": ("unix:sock:mode=666", "sock"),
    "nudge_secret": ("secret", "secret"),
    "queues": ("mock:seed=4", {"seed": "4"}),
    "listeners": ("log:name=x", {"name": "x"}),
    "auth": ("ldap:server=x", {"server": "x"}),
}

FLAGS = {"allow_anonymous": True, "keep_channels": True, "new_epoch": True, "debug_invariants": True, "show_version": True}

PATHS = {"config", "state", "access_log", "static", "nudge_secret"}


def command_line(*arguments: str) -> dict[str, Given]:
    """Return what these arguments give."""
    parsed = CommandLine()
    parsed.parseOptions(list(arguments))
    return parsed.given()


class TableTests(SynchronousTestCase):
    """`Settings`."""

    def test_every_field_is_declared(self) -> None:
        """Each field of the settings declares an option, and each has a test here."""
        fields = {field.name for field in attrs.fields(Settings)}
        self.assertEqual({item.field for item in declared(Settings)}, fields)
        self.assertEqual(set(TEXTS) | set(FLAGS), fields)

    def test_defaults(self) -> None:
        """Where nobody says anything, each option has its default."""
        self.assertEqual(make_settings({}), Settings())
        self.assertEqual((Settings().port, Settings().keep_events, Settings().keep_days), (None, 1_000_000, 7.0))
        self.assertEqual((Settings().keep_channels, Settings().allow_anonymous, Settings().max_held), (False, False, None))

    def test_help_is_one_line(self) -> None:
        """The help of an option is one line without a full stop: others are made of it."""
        for item in declared(Settings):
            self.assertNotRegex(item.help, r"\n|\.$", item.name)

    def test_names_are_distinct(self) -> None:
        """No two options have a name or a letter on the command line in common."""
        names = [item.switch for item in settings_at(Place.COMMAND_LINE)] + ["help", "version", "help-queues", "help-queue-type", "help-auth", "help-auth-type"]
        letters = [item.short for item in settings_at(Place.COMMAND_LINE) if item.short]
        self.assertEqual((len(names), len(letters)), (len(set(names)), len(set(letters))))


class CommandLineTests(SynchronousTestCase):
    """`CommandLine`."""

    def test_every_option(self) -> None:
        """Each option may be given by its name and by its letter, and has its value and where it was given."""
        for item in settings_at(Place.COMMAND_LINE):
            for word in (f"--{item.switch}", *([f"-{item.short}"] if item.short else [])):
                text, expected = TEXTS.get(item.field, ("", None))
                got = command_line(word, *([] if item.is_flag else [text]))
                self.assertEqual(list(got), [item.field])
                value, where = got[item.field].value, got[item.field].where
                if item.is_flag:
                    self.assertEqual((value, where), (FLAGS[item.field], f"--{item.switch}"))
                    continue
                self.assertEqual(where, f"--{item.switch} {text}")
                if item.field in PATHS:
                    self.assertEqual(value, os.path.abspath(expected))
                elif item.field == "nudge":
                    self.assertEqual(value, (UnixAddress(os.path.abspath(expected), 0o666),))
                elif item.field in ("operators", "hosts", "cors"):
                    self.assertEqual(value, (expected,))
                elif item.is_repeated:
                    self.assertEqual([part.options for part in value], [expected])
                else:
                    self.assertEqual(value, expected)

    def test_repeated(self) -> None:
        """What may be repeated keeps its order, by name and by letter; of another option the last one counts."""
        got = command_line("-q", "mock", "--queue", "slurm:cluster=a", "--port", "1", "-p", "2", "--nudge", "unix:/a", "--nudge", "unix:/b")
        settings = make_settings(got)
        self.assertEqual([queue.type for queue in settings.queues], ["mock", "slurm"])
        self.assertEqual([queue.where for queue in settings.queues], ["--queue mock", "--queue slurm:cluster=a"])
        self.assertEqual((settings.port, settings.nudge), ("2", (UnixAddress("/a"), UnixAddress("/b"))))
        self.assertEqual(got["nudge"].where, "--nudge unix:/a --nudge unix:/b")

    def test_help(self) -> None:
        """Every option is listed with its help and, if it has one, its default."""
        shown = " ".join(str(CommandLine()).split())
        for item in settings_at(Place.COMMAND_LINE):
            self.assertIn(f"--{item.switch}{'' if item.is_flag else '='} ", shown)
            self.assertIn(" ".join(item.switch_line.split()), shown)
        self.assertIn("(default: 1000000)", shown)
        self.assertIn("(repeatable; default: the schedulers found on this host", shown)

    def test_errors(self) -> None:
        """An error names the option as it was given, its value, and what was expected."""
        for arguments, line in {
            ("--max-held", "0"): "--max-held 0: expected a whole number from 1 to 2147483648",
            ("-i", "a b"): "--interval 'a b': expected seconds, from 0.001 to 86400",
            ("--nudge", "unix:/x", "--nudge", "tcp:1"): "--nudge tcp:1: expected unix:PATH, unix:PATH:mode=666 or udp:HOST:PORT",
            ("--queue", "mock:seed"): "--queue mock:seed: 'seed' is not key=value (write a colon in a value as '\\:')",
        }.items():
            self.assertEqual(str(self.assertRaises(ConfigError, command_line, *arguments)), line)

    def test_alone(self) -> None:
        """Without twistd an unknown option is a usage error of its own."""
        self.assertRaises(UsageError, command_line, "--bogus")


class FileTests(SynchronousTestCase):
    """``--config``."""

    def write(self, text: str) -> str:
        path = os.path.abspath(self.mktemp())
        Path(path).write_text(text)
        return path

    def refused(self, text: str) -> str:
        """Return the line, after the name of the file, with which a file of this text is refused."""
        path = self.write(text)
        line = str(self.assertRaises(ConfigError, load, path))
        self.assertTrue(line.startswith(f"{path}: "), line)
        self.assertNotIn("\n", line)
        return line.removeprefix(f"{path}: ")

    def test_every_key(self) -> None:
        """Each option that may stand in a file has its value from there; paths are relative to the file's directory."""
        for item in settings_at(Place.FILE):
            if item.is_table:
                continue
            _, expected = TEXTS.get(item.field, ("", FLAGS.get(item.field)))
            given = {
                "nudge": ["unix:sock:mode=666"], "health": "unix:/run/x:mode=666", "socket": "unix:/run/y", "operators": ["@staff"],
                "hosts": [expected], "cors": [expected],
            }.get(item.field, expected)  # fmt: skip
            path = self.write(f"{item.name} = {to_toml(given)}")
            value = getattr(load(path), item.field)
            beside = os.path.join(os.path.dirname(path), str(expected))
            if item.field == "nudge":
                expected = (UnixAddress(beside, 0o666),)
            if item.field in ("operators", "hosts", "cors"):
                expected = (expected,)
            self.assertEqual(value, beside if item.field in PATHS else expected, item.name)

    def test_tables(self) -> None:
        """Each [[queue]] and [[listener]] has its type, its options and its place, and relative paths are the file's."""
        path = self.write('[[queue]]\ntype = "mock"\nseed = 4\n[[queue]]\ntype = "slurm"\n[[listener]]\ntype = "log"\n')
        settings = load(path)
        self.assertEqual([(queue.type, dict(queue.options)) for queue in settings.queues], [("mock", {"seed": 4}), ("slurm", {})])
        self.assertEqual([queue.where for queue in settings.queues], [f"{path}: [[queue]] 1", f"{path}: [[queue]] 2"])
        self.assertEqual([queue.options.directory for queue in settings.queues], [os.path.dirname(path)] * 2)
        self.assertEqual([listener.table for listener in settings.listeners], ["[[listener]]"])

    def test_a_port_is_a_number_or_a_text(self) -> None:
        """Both are the same port."""
        self.assertEqual([load(self.write(text)).port for text in ("port = 80", 'port = "80"')], ["80", "80"])

    def test_what_stands_on_the_command_line_alone(self) -> None:
        """Options that are for one start are no keys of a file."""
        for key in ("new_epoch = true", 'config = "x"'):
            self.assertIn("unknown key", self.refused(key))

    def test_unknown(self) -> None:
        """An unknown key is named with all that are known."""
        self.assertEqual(
            self.refused("prot = 8080"),
            "unknown key 'prot'; known are [[auth]], [[listener]], [[queue]], access_log, allow_anonymous, cors, debug_invariants, health, host, "
            "interval, keep_channels, keep_days, keep_events, max_connections_each, max_held, max_held_each, max_requests, max_requests_each, max_workflow_jobs, max_workflow_mb, "
            "max_workflows, nudge, nudge_secret, operator, owner_workflow_jobs, owner_workflow_mb, owner_workflows, port, private, show_version, socket, "
            "state, static",
        )

    def test_wrong_values(self) -> None:
        """A value of another type, or out of range, is named with its key and what was expected."""
        for text, line in {
            'interval = "2"': 'interval = "2": expected seconds, from 0.001 to 86400',
            "interval = -1.5": "interval = -1.5: expected seconds, from 0.001 to 86400",
            "interval = true": "interval = true: expected seconds, from 0.001 to 86400",
            "keep_days = nan": "keep_days = nan: expected days, from 0.001 to 36500",
            "allow_anonymous = 1": "allow_anonymous = 1: expected yes or no; true or false in a TOML file",
            "max_held = true": "max_held = true: expected a whole number from 1 to 2147483648",
            "max_held = 0": "max_held = 0: expected a whole number from 1 to 2147483648",
            "keep_events = -5": "keep_events = -5: expected a whole number from 1 to 2147483648",
            "port = 70000": "port = 70000: expected a port from 0 to 65535, or an endpoint string such as tcp:8080:interface=0.0.0.0",
            'state = ""': 'state = "": expected a path',
            "state = 5": "state = 5: expected a path",
            'nudge = "unix:/x"': 'nudge = "unix:/x": expected a list, of which each is unix:PATH, unix:PATH:mode=666 or udp:HOST:PORT',
            'nudge = ["unix:/x", 5]': 'nudge = ["unix:/x", 5]: expected unix:PATH, unix:PATH:mode=666 or udp:HOST:PORT',
            "health = true": "health = true: expected unix:PATH, unix:PATH:mode=666, a port of loopback, tcp:PORT:interface=ADDRESS, or none",
            "queue = 5": "queue = 5: expected tables, written as [[queue]]",
            'queue = ["slurm"]': "[[queue]] 1: expected tables, written as [[queue]]",
            '[queue]\ntype = "slurm"': "[queue]: expected tables, written as [[queue]]",
            "[[queue]]\ncluster = 'x'": '[[queue]] 1: expected a key type = "…"',
            "[[queue]]\ntype = 'x'\n[[queue]]\ntype = 5": '[[queue]] 2: expected a key type = "…"',
        }.items():
            self.assertEqual(self.refused(text), line)

    def test_not_toml(self) -> None:
        """What is not TOML, or not UTF-8, is refused with the file's name and why."""
        self.assertIn("Invalid value", self.refused("port = ["))
        path = self.write("")
        Path(path).write_bytes(b"port = \xff")
        self.assertIn(path, str(self.assertRaises(ConfigError, load, path)))

    def test_file_below_command_line(self) -> None:
        """What the command line says goes before the file, option by option."""
        path = self.write('port = 9999\ninterval = 5\nkeep_channels = false\n[[queue]]\ntype = "slurm"\n')
        settings = make_settings({**read_file(path), **command_line("--port", "1234", "--queue", "mock", "--keep-channels")})
        self.assertEqual((settings.port, settings.interval, settings.keep_channels), ("1234", 5.0, True))
        self.assertEqual([queue.type for queue in settings.queues], ["mock"])

    @given(st.sampled_from([item.name for item in settings_at(Place.FILE)]), TOML_TEXTS)
    def test_any_value(self, key: str, text: str) -> None:
        """Whatever value a key of the file has, it is taken, or refused in one line that begins with the file's name."""
        path = self.write(f"{key} = {text}")
        try:
            load(path)
        except ConfigError as error:
            self.assertRegex(str(error), rf"\A{re.escape(path)}: .*\Z")
