"""Frozen values that are made and copied quickly: as attrs makes and copies them."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.frozen import evolve, quick
from jobpush.core.model import JobDescriptor, Outcome, Phase


@quick
@attrs.frozen(weakref_slot=False)
class Value:
    """What attrs offers, all at once."""

    first: int
    _second: str = attrs.field(default="s", alias="second", converter=str.upper)
    third: dict[str, int] = attrs.field(factory=dict)
    fourth: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.first < 0:
            raise ValueError("less than nothing")


class QuickTests(SynchronousTestCase):
    """`quick`."""

    def test_made(self) -> None:
        """Defaults, factories, converters, names of arguments, and the check at the end."""
        value = Value(1)
        self.assertEqual((value.first, value._second, value.third, value.fourth), (1, "S", {}, None))
        self.assertIsNot(value.third, Value(1).third)
        self.assertEqual(Value(1, "x", fourth=4), Value(first=1, second="X", third={}, fourth=4))
        self.assertEqual(repr(value), "Value(first=1, _second='S', third={}, fourth=None)")
        for wrong in ((), (1, "a", {}, 2, 3)):
            self.assertRaises(TypeError, Value, *wrong)
        self.assertRaises(TypeError, Value, 1, sixth=1)
        self.assertRaises(ValueError, Value, -1)

    def test_frozen(self) -> None:
        """It is, once made."""
        value: Any = Value(1)
        for made in (value, evolve(value, fourth=3)):
            self.assertIs(type(made), Value)
            with self.assertRaises(attrs.exceptions.FrozenInstanceError):
                made.first = 2

    def test_copied(self) -> None:
        """As attrs copies it: converted, checked, the value itself as it was."""
        value = Value(1, third={"a": 1})
        for changes in ({}, {"first": 2}, {"second": "y", "fourth": 5}, {"third": {}}):  # type: dict[str, Any]
            self.assertEqual(evolve(value, **changes), attrs.evolve(value, **changes))
        self.assertEqual(value, Value(1, third={"a": 1}))
        self.assertRaises(ValueError, evolve, value, first=-1)
        self.assertRaises(TypeError, evolve, value, sixth=1)

    def test_other_classes(self) -> None:
        """Are copied by attrs."""

        @attrs.frozen
        class Other:
            one: int

        self.assertEqual(evolve(Other(1), one=2), Other(2))

    def test_jobs(self) -> None:
        """A job that is copied is checked as one that is made."""
        job = JobDescriptor("c", "1", Phase.QUEUED, user="kim")
        self.assertTrue(evolve(job, observed_at=5.0).says_the_same(job))
        self.assertRaises(ValueError, evolve, job, outcome=Outcome.FAILED)
