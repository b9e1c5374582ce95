"""How an option of the service is declared. (Tests: tests/test_settings.py.)"""

from __future__ import annotations

import enum
from typing import Any, TypeVar

import attrs

from jobpush.adapter.kinds import Kind, Many, YesNo
from jobpush.adapter.options import Option, declare

T = TypeVar("T")


class Place(enum.Flag):
    """Where an option may stand."""

    COMMAND_LINE = enum.auto()
    FILE = enum.auto()
    BOTH = COMMAND_LINE | FILE


@attrs.frozen
class Setting(Option[T]):
    """
    The declaration of an option of the service.

    :ivar short: its letter on the command line; empty for none.
    :ivar places: where it may stand.
    :ivar switch_help: its help on the command line, where that is another.
    """

    short: str = ""
    places: Place = Place.BOTH
    switch_help: str = ""

    @property
    def is_flag(self) -> bool:
        """Whether it has no value on the command line."""
        return isinstance(self.kind, YesNo)

    @property
    def is_repeated(self) -> bool:
        """Whether it may be given several times on the command line."""
        return isinstance(self.kind, Many)

    @property
    def is_table(self) -> bool:
        """Whether each of its values is a table of a TOML file."""
        return isinstance(self.kind, Many) and dict in self.kind.element.types

    @property
    def switch(self) -> str:
        """Its name on the command line, without the hyphens before it. A flag switches off what is on by default."""
        return ("no-" if self.is_flag and self.default else "") + self.name.replace("_", "-")

    @property
    def key(self) -> str:
        """Its name as a TOML file has it."""
        return f"[[{self.name}]]" if self.is_table else self.name

    @property
    def switch_line(self) -> str:
        """Its help on the command line, as one line."""
        remarks = ["repeatable"] if self.is_repeated else []
        if self.default_shown and not self.is_flag:
            remarks.append(f"default: {self.default_shown}")
        return (self.switch_help or self.help) + (f" ({'; '.join(remarks)})" if remarks else "")


#: A declaration, whatever the type of its value.
AnySetting = Setting[Any]


def setting(
    kind: Kind[T],
    default: T,
    help: str,
    *,
    name: str = "",
    short: str = "",
    places: Place = Place.BOTH,
    default_text: str = "",
    example: object = None,
    in_sample: bool = False,
    switch_help: str = "",
    details: str = "",
) -> T:
    """Return a field of `Settings`; see `Setting`."""
    return declare(
        Setting(
            kind,
            default,
            help,
            default_text,
            example,
            details,
            name=name,
            in_sample=in_sample,
            short=short,
            places=places,
            switch_help=switch_help,
        )
    )
