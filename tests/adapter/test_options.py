"""The options of queues and listeners, from text and from tables."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.options import OptionReader


class OptionTests(SynchronousTestCase):
    """`OptionReader`."""

    def check(self, read: Callable[[OptionReader], Any], good: list[tuple[object, Any]], bad: list[object], expected: str) -> None:
        """What is read of each value of ``x``; and that each bad one is named, with what was expected."""
        for value, result in good:
            found = read(OptionReader({"x": value}))
            self.assertEqual((found, type(found)), (result, type(result)), value)
        for value in bad:
            with self.assertRaises(BadQueueOption, msg=repr(value)) as caught:
                read(OptionReader({"x": value}))
            self.assertEqual(str(caught.exception), f"x={value!r}: {expected}")

    def test_text(self) -> None:
        """Any but an empty one."""
        self.check(lambda r: r.text("x"), [("a b", "a b"), (None, None)], ["", 3, True, ["a"]], "expected a text")
        self.assertEqual(OptionReader({}).text("x", "default"), "default")

    def test_names(self) -> None:
        """That can be no option of a command."""
        good = ["a", "0", "a_b.c-d", "A" * 63]
        bad = ["-a", ".a", "_a", "a b", "a/b", "A" * 64, "\u00e9", "a\n"]
        self.check(lambda r: r.cluster_name("x"), [(text, text) for text in good], bad, "expected letters, digits, '_', '-' and '.', at most 63")
        self.assertIsNone(OptionReader({}).cluster_name("x"))
        self.assertEqual((OptionReader({"cluster": "a"}).cluster("b"), OptionReader({}).cluster("b")), ("a", "b"))

    def test_paths(self) -> None:
        """Made absolute."""
        self.check(lambda r: r.path("x"), [("/a/../b", "/b"), ("c", os.path.join(os.getcwd(), "c")), (None, None)], ["", 3], "expected a text")

    def test_seconds(self) -> None:
        """Within bounds."""
        good = [("1", 1.0), ("0.5", 0.5), (0.001, 0.001), (3, 3.0), ("1e2", 100.0), (86400, 86400.0), (None, None)]
        bad = ["", "x", "nan", "inf", float("nan"), True, False, 0, 0.0009, 86400.5, "-1", [1]]
        self.check(lambda r: r.seconds("x", None), good, bad, "expected seconds, from 0.001 to 86400")
        self.check(lambda r: r.seconds("x", 5.0, 2.0, 10.0), [(2, 2.0), (10, 10.0)], [1.9, 10.1, "x"], "expected seconds, from 2 to 10")
        self.assertEqual(OptionReader({}).seconds("x", 7.0), 7.0)

    def test_integers(self) -> None:
        """Whole numbers within bounds, whatever the default is."""
        good = [("0", 0), ("007", 7), (3, 3), (2**31, 2**31), (None, -1)]
        bad = ["", "x", "1.0", 1.0, "-1", -1, True, False, 2**31 + 1, "12345678901", [1]]
        self.check(lambda r: r.integer("x", -1), good, bad, f"expected a whole number from 0 to {2**31}")
        self.check(lambda r: r.integer("x", 1, 2, 4), [(2, 2), ("4", 4)], [1, 5], "expected a whole number from 2 to 4")

    def test_flags(self) -> None:
        """Yes and no by either word; auto only where nobody need say."""
        good = [("yes", True), ("true", True), (True, True), ("no", False), ("false", False), (False, False)]
        bad = ["", "Yes", "1", 1, 0, [True]]
        self.check(lambda r: r.flag("x", True), [*good, (None, True)], [*bad, "auto"], "expected yes or no")
        self.check(lambda r: r.flag("x", False), [*good, (None, False)], ["auto"], "expected yes or no")
        self.check(lambda r: r.flag("x", None), [*good, (None, None), ("auto", None)], bad, "expected auto, yes or no")

    def test_words(self) -> None:
        """A list, or a text as a shell would take it apart."""
        good = [("ssh -o 'a b' x", ("ssh", "-o", "a b", "x")), (["ssh", "a b"], ("ssh", "a b")), (None, ())]
        expected = "expected a command and its arguments, such as ssh -o BatchMode=yes login1"
        self.check(lambda r: r.words("x"), good, ["", " ", [], ["ssh", 3], ["ssh", ""], 3, True, ("ssh",)], expected)
        with self.assertRaises(BadQueueOption) as caught:
            OptionReader({"x": "ssh 'x"}).words("x")
        self.assertEqual(str(caught.exception), f"x=\"ssh 'x\": {expected} (No closing quotation)")

    def test_what_is_left(self) -> None:
        """Is refused by name, the first of several, with what is known."""
        reader = OptionReader({"b": 1, "z": 2, "y": 3})
        reader.integer("b", 0)
        reader.text("a")
        with self.assertRaises(BadQueueOption) as caught:
            reader.finish()
        self.assertEqual(str(caught.exception), "unknown option 'y'; known are a, b")
        done = OptionReader({"b": 1})
        done.integer("b", 0)
        done.finish()
