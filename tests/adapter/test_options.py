"""Options that are declared by a class, and options that are read one by one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.kinds import (
    Name,
    Number,
    Path,
    Text,
    YesNo,
)
from jobpush.adapter.options import DeclaredOptions, OptionReader, OptionValues, declared, help_text, option, read_options
from jobpush.adapter.registry import queue_factories


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
    """A factory that has its help from the class of its options."""

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

    def test_options_in_the_help(self) -> None:
        """An option that a help line names is not broken at a hyphen."""

        @attrs.frozen
        class Hyphens:
            word: str = option(Text(), "x", "--some-long-option " * 40)

        words = help_text(declared(Hyphens)).split()[1:]
        self.assertEqual(set(words), {"--some-long-option", "(default:", "x)"})

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


class ReadOneByOneTests(SynchronousTestCase):
    """`OptionReader`."""

    def check(self, read: Callable[[OptionReader], Any], good: list[tuple[object, Any]], bad: list[object], expected: str) -> None:
        """Check what is read of each value of ``x``, and that each bad one is named with what was expected."""
        for value, result in good:
            found = read(OptionReader({"x": value}))
            self.assertEqual((found, type(found)), (result, type(result)), value)
        for value in bad:
            with self.assertRaises(BadQueueOption, msg=repr(value)) as caught:
                read(OptionReader({"x": value}))
            self.assertEqual(str(caught.exception), f"x={value!r}: {expected}")

    def test_text(self) -> None:
        """Any text is read but an empty one."""
        self.check(lambda r: r.text("x"), [("a b", "a b"), (None, None)], ["", 3, True, ["a"]], "expected a text")
        self.assertEqual(OptionReader({}).text("x", "default"), "default")

    def test_names(self) -> None:
        """Only names that cannot be options of a command are read."""
        good = ["a", "0", "a_b.c-d", "A" * 63]
        bad = ["-a", ".a", "_a", "a b", "a/b", "A" * 64, "\u00e9", "a\n"]
        self.check(lambda r: r.cluster_name("x"), [(text, text) for text in good], bad, "expected letters, digits, '_', '-' and '.', at most 63")
        self.assertIsNone(OptionReader({}).cluster_name("x"))
        self.assertEqual((OptionReader({"cluster": "a"}).cluster("b"), OptionReader({}).cluster("b")), ("a", "b"))

    def test_paths(self) -> None:
        """Paths are made absolute."""
        self.check(lambda r: r.path("x"), [("/a/../b", "/b"), ("c", os.path.join(os.getcwd(), "c")), (None, None)], ["", 3], "expected a path")

    def test_seconds(self) -> None:
        """Seconds within bounds are read."""
        good = [("1", 1.0), ("0.5", 0.5), (0.001, 0.001), (3, 3.0), ("1e2", 100.0), (86400, 86400.0), (None, None)]
        bad = ["", "x", "nan", "inf", float("nan"), True, False, 0, 0.0009, 86400.5, "-1", [1]]
        self.check(lambda r: r.seconds("x", None), good, bad, "expected seconds, from 0.001 to 86400")
        self.check(lambda r: r.seconds("x", 5.0, 2.0, 10.0), [(2, 2.0), (10, 10.0)], [1.9, 10.1, "x"], "expected seconds, from 2 to 10")
        self.assertEqual(OptionReader({}).seconds("x", 7.0), 7.0)

    def test_integers(self) -> None:
        """Whole numbers within bounds are read, whatever the default is."""
        good = [("0", 0), ("007", 7), (3, 3), (2**31, 2**31), (None, -1)]
        bad = ["", "x", "1.0", 1.0, "-1", -1, True, False, 2**31 + 1, "12345678901", [1]]
        self.check(lambda r: r.integer("x", -1), good, bad, f"expected a whole number from 0 to {2**31}")
        self.check(lambda r: r.integer("x", 1, 2, 4), [(2, 2), ("4", 4)], [1, 5], "expected a whole number from 2 to 4")

    def test_flags(self) -> None:
        """Yes and no are read by either word; auto only if the default is None."""
        good = [("yes", True), ("true", True), (True, True), ("no", False), ("false", False), (False, False)]
        bad = ["", "Yes", "1", 1, 0, [True]]
        self.check(lambda r: r.flag("x", True), [*good, (None, True)], [*bad, "auto"], "expected yes or no; true or false in a TOML file")
        self.check(lambda r: r.flag("x", False), [*good, (None, False)], ["auto"], "expected yes or no; true or false in a TOML file")
        self.check(lambda r: r.flag("x", None), [*good, (None, None), ("auto", None)], bad, "expected auto, yes or no")

    def test_words(self) -> None:
        """A list is read, or a text as a shell splits it."""
        good = [("ssh -o 'a b' x", ("ssh", "-o", "a b", "x")), (["ssh", "a b"], ("ssh", "a b")), (None, ())]
        expected = "expected a command and its arguments, such as ssh -o BatchMode=yes login1"
        self.check(lambda r: r.words("x"), good, ["", " ", [], ["ssh", 3], ["ssh", ""], 3, True, ("ssh",)], expected)
        with self.assertRaises(BadQueueOption) as caught:
            OptionReader({"x": "ssh 'x"}).words("x")
        self.assertEqual(str(caught.exception), f"x=\"ssh 'x\": {expected} (No closing quotation)")

    def test_what_is_left(self) -> None:
        """An option that was not read is refused by name, the first of several, with the known names."""
        reader = OptionReader({"b": 1, "z": 2, "y": 3})
        reader.integer("b", 0)
        reader.text("a")
        with self.assertRaises(BadQueueOption) as caught:
            reader.finish()
        self.assertEqual(str(caught.exception), "unknown option 'y'; known are a, b")
        done = OptionReader({"b": 1})
        done.integer("b", 0)
        done.finish()
