"""The kinds of values that options have."""

from __future__ import annotations

import math
import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.kinds import (
    Choice,
    Command,
    FarPath,
    Kind,
    Many,
    Name,
    Number,
    Path,
    PathOrServers,
    PathWhereCommandsRun,
    Text,
    WholeNumber,
    YesNo,
    YesNoAuto,
    is_toml_of,
    to_toml,
)

ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=5,
)

KINDS: list[Kind[Any]] = [
    Choice(("a", "b")), Command(), Many(WholeNumber()), Name(), Number(), Path(), PathOrServers(".conf"), PathWhereCommandsRun(), Text(), WholeNumber(),
    YesNo(), YesNoAuto(),
]  # fmt: skip


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
            Many(WholeNumber()): ["5", 5, [-1]], PathOrServers(".conf"): ["", 5, "a b", "a,", "-x", "a:b", "a\0/b", "a:123456"],
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

    def test_path_or_servers(self) -> None:
        """What has a slash, or the suffix of such files, is a path; else it is the hosts that have the file."""
        kind = PathOrServers(".conf")
        for value in ("ctl1", "ctl1:6817,ctl2.example.org", "[fe80::1]:6817,10.0.0.1"):
            self.assertEqual(kind.read(value), value)
        for value in ("/etc/slurm/x", "etc/x", "slurm.conf"):
            self.assertEqual(kind.read(value, "/d"), FarPath(value, os.path.join("/d", value)))

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
