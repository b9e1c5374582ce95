"""Options that are declared by a class, and options that are read one by one."""

from __future__ import annotations

import math
import os
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.kinds import (
    Choice,
    Command,
    FarPath,
    Kind,
    Many,
    Name,
    Number,
    Path,
    PathWhereCommandsRun,
    Text,
    WholeNumber,
    YesNo,
    YesNoAuto,
    is_toml_of,
    to_toml,
)
from jobpush.adapter.options import DeclaredOptions, OptionReader, OptionValues, declared, help_text, option, read_options
from jobpush.adapter.registry import queue_factories

ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=5,
)

KINDS: list[Kind[Any]] = [
    Choice(("a", "b")), Command(), Many(WholeNumber()), Name(), Number(), Path(), PathWhereCommandsRun(), Text(), WholeNumber(), YesNo(),
    YesNoAuto(),
]  # fmt: skip


@attrs.frozen
class Basic:
    """Options that several types have."""

    timeout: float = option(Number("seconds"), 20.0, "seconds after which a query has failed")


@attrs.frozen
class LsqOptions(Basic):
    """The options of an imaginary scheduler."""

    cluster: str = option(Name(), "lsq", "the name under which its jobs are served")
    interval: float | None = option(Number("seconds"), None, "seconds between two queries", default_text="2")
    watch: bool = option(YesNo(), True, "look as soon as its log is written to")
    log: str | None = option(Path(), None, "its log")


class LsqFactory(DeclaredOptions):
    """Has its help from the class of its options."""

    options_class = LsqOptions


class DeclaredTests(SynchronousTestCase):
    """A class of options."""

    def test_read(self) -> None:
        """Texts of the command line and values of a TOML file make the same instance; the rest has its defaults."""
        for values in ({"interval": "2.5", "watch": "no"}, {"interval": 2.5, "watch": False}):
            self.assertEqual(read_options(LsqOptions, values), LsqOptions(interval=2.5, watch=False))
        self.assertEqual(read_options(LsqOptions, {"cluster": None}), LsqOptions(timeout=20.0, cluster="lsq"))

    def test_paths(self) -> None:
        """A relative path is relative to where the options stand."""
        self.assertEqual(read_options(LsqOptions, OptionValues({"log": "a/b"}, "/etc/jobpush")).log, "/etc/jobpush/a/b")
        self.assertEqual(read_options(LsqOptions, {"log": "a/b"}).log, os.path.abspath("a/b"))

    def test_help(self) -> None:
        """The help has each option with what stands for its value, what it is for and its default, its own options first."""
        self.assertEqual(
            LsqFactory().arg_string_format.splitlines(),
            [
                "cluster=NAME: the name under which its jobs are served (default: lsq)",
                "interval=SECONDS: seconds between two queries (default: 2)",
                "watch=yes|no: look as soon as its log is written to (default: yes)",
                "log=PATH: its log",
                "timeout=SECONDS: seconds after which a query has failed (default: 20)",
            ],
        )

    def test_long_help(self) -> None:
        """Lines that are too long for a terminal go on in an indented one."""

        @attrs.frozen
        class Wordy:
            word: str = option(Text(), "x", "word " * 40)

        self.assertTrue(all(len(line) <= 118 for line in help_text(declared(Wordy)).splitlines()))
        self.assertTrue(help_text(declared(Wordy)).splitlines()[1].startswith("  word"))

    def test_refused(self) -> None:
        """What is wrong is named with what was expected; what is unknown with what is known."""
        error = self.assertRaises(BadQueueOption, read_options, LsqOptions, {"interval": "soon"})
        self.assertEqual(str(error), "interval='soon': expected seconds, from 0.001 to 86400")
        self.assertIsNone(error.unknown)
        error = self.assertRaises(BadQueueOption, read_options, LsqOptions, {"colour": "red"})
        self.assertEqual(str(error), "unknown option 'colour'; known are cluster, interval, log, timeout, watch")
        self.assertEqual(error.unknown, "colour")

    def test_adapters(self) -> None:
        """Every option of the adapters that come with jobpush has a line in the help, and a default or an example."""
        for factory in queue_factories():
            options = declared(factory.options_class)
            self.assertEqual(len(options), len(attrs.fields(factory.options_class)))
            for item in options:
                self.assertIn(f"{item.name}={item.kind.placeholder}: ", factory.arg_string_format)
                self.assertFalse(item.default in (None, ()) and item.example is None, f"{factory.queue_type} {item.name}")


class KindTests(SynchronousTestCase):
    """The kinds of values."""

    def test_text_and_toml_alike(self) -> None:
        """A text and a value of a TOML file that mean the same are read as the same."""
        for kind, text, value, expected in [
            (Number("days"), "2.5", 2.5, 2.5), (Number("days"), "2", 2, 2.0), (WholeNumber(), "7", 7, 7), (YesNo(), "yes", True, True),
            (YesNo(), "false", False, False), (YesNoAuto(), "auto", "auto", None), (YesNoAuto(), "no", False, False),
            (Command(), "ssh -o 'a b'", ["ssh", "-o", "a b"], ("ssh", "-o", "a b")), (Choice(("a", "b")), "b", "b", "b"),
        ]:  # fmt: skip
            self.assertEqual((kind.read(text), kind.read(value)), (expected, expected))

    def test_refused(self) -> None:
        """What is not of the kind is refused with what was expected."""
        for kind, values in {
            Text(): ["", 5, None], Name(): ["", "-x", "a/b", "a" * 64, "a\n", 5], Path(): ["", 5, "a\0b"], PathWhereCommandsRun(): ["", 5],
            Number("days", 1, 9): ["0.9", 9.1, "nan", "x", "", True, [], 10**400], WholeNumber(1, 9): ["0", 10, "1.0", 1.0, "-1", True, "²", ""],
            YesNo(): ["", "on", 1, None], YesNoAuto(): ["", "on", 1], Choice(("a", "b")): ["c", 1], Command(): ["", [], ["a", ""], [1], "'a", 5],
            Many(WholeNumber()): ["5", 5, [-1]],
        }.items():  # fmt: skip
            for value in values:
                error = self.assertRaises(ValueError, kind.read, value)
                self.assertIn("expected", str(error), repr(value))

    @given(st.sampled_from(KINDS), ANYTHING)
    def test_anything(self, kind: Kind[Any], value: object) -> None:
        """Any value is read or refused."""
        try:
            read = kind.read(value)
        except ValueError as error:
            self.assertIn("expected", str(error))
        else:
            self.assertFalse(isinstance(read, float) and not math.isfinite(read))

    def test_far_paths(self) -> None:
        """The path of another host stays as it was given; on this host it is absolute."""
        self.assertEqual(PathWhereCommandsRun().read("a", "/etc"), FarPath("a", "/etc/a"))

    def test_toml_types(self) -> None:
        """A bool is no number, and a text that could be read as a number is none either."""
        for kind, value, expected in [
            (WholeNumber(), 5, True), (WholeNumber(), True, False), (WholeNumber(), "5", False), (Number(), 5, True), (Number(), True, False),
            (YesNo(), True, True), (YesNo(), "yes", False), (Text(), "x", True), (Command(), ["x"], True),
        ]:  # fmt: skip
            self.assertEqual(is_toml_of(kind, value), expected, (kind, value))

    def test_toml(self) -> None:
        """Values are written as TOML has them."""
        for value, text in [(True, "true"), (5, "5"), (7.0, "7"), (0.1, "0.1"), ('a"b', '"a\\"b"'), (("a", 1), '["a", 1]')]:
            self.assertEqual(to_toml(value), text)


class OptionReaderTests(SynchronousTestCase):
    """`OptionReader`."""

    def test_text_and_toml_alike(self) -> None:
        """``"2.5"`` from the command line and ``2.5`` from a file are the same."""
        for value in ("2.5", 2.5):
            self.assertEqual(OptionReader({"interval": value}).seconds("interval", None), 2.5)
        for value in ("7", 7):
            self.assertEqual(OptionReader({"seed": value}).integer("seed", 1), 7)

    def test_defaults(self) -> None:
        """What was not given has the default that is asked for."""
        reader = OptionReader({})
        self.assertEqual((reader.text("a"), reader.text("b", "x"), reader.cluster("lsf"), reader.path("c")), (None, "x", "lsf", None))
        self.assertEqual((reader.seconds("d", None), reader.seconds("e", 3.0), reader.integer("f", 4)), (None, 3.0, 4))
        self.assertEqual((reader.flag("g", True), reader.flag("h", None), reader.words("i")), (True, None, ()))
        reader.finish()

    def test_paths(self) -> None:
        """A relative path is relative to where the options stand."""
        self.assertEqual(OptionReader(OptionValues({"conf": "lsf.conf"}, "/etc/jobpush")).path("conf"), "/etc/jobpush/lsf.conf")
        self.assertEqual(OptionReader({"conf": "lsf.conf"}).path("conf"), os.path.abspath("lsf.conf"))

    def test_refused(self) -> None:
        """What is wrong is named with its value and what was expected."""
        reader = OptionReader({"a": "x", "b": "maybe", "c": "/", "d": 5})
        for read, line in [
            (lambda: reader.seconds("a", 1.0, 2, 3), "a='x': expected seconds, from 2 to 3"),
            (lambda: reader.flag("b", None), "b='maybe': expected auto, yes or no"),
            (lambda: reader.cluster_name("c"), "c='/': expected letters, digits, '_', '-' and '.', at most 63"),
            (lambda: reader.text("d"), "d=5: expected a text"),
        ]:
            self.assertEqual(str(self.assertRaises(BadQueueOption, read)), line)

    def test_left_over(self) -> None:
        """What nobody asked for is refused by name, with what is known."""
        reader = OptionReader({"a": "1", "b": "2"})
        reader.text("a")
        error = self.assertRaises(BadQueueOption, reader.finish)
        self.assertEqual((str(error), error.unknown), ("unknown option 'b'; known are a", "b"))
