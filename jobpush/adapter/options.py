"""
The options of queues and listeners: each is declared once, and its help, its check and its value follow from that.

A class of options is an attrs class whose fields are made by `option`:

    @attrs.frozen
    class LsqOptions:
        cluster: str = option(Name(), "lsq", "the name under which its jobs are served")
        interval: float | None = option(Number("seconds"), None, "the time between two queries", default_text="2")

`read_options` makes an instance of it from what the user gave, `declared` lists what it declares, and a factory that is a
`DeclaredOptions` has its help text from it. `OptionReader` reads options one by one, for a factory without such a class.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import ClassVar, Generic, TypeVar

import attrs

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.kinds import Command, Kind, Name, Number, Path, Text, WholeNumber, YesNo, YesNoAuto

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
C = TypeVar("C")
D = TypeVar("D")

#: The default of a flag.
Flag = TypeVar("Flag", bool, None)

#: Where a field's metadata has the `Option`.
_OPTION = "jobpush.option"


class OptionValues(dict[str, object]):
    """
    Options as the user gave them.

    :ivar directory: what relative paths among them are relative to; the working directory if it is empty.
    """

    def __init__(self, values: Mapping[str, object], directory: str = "") -> None:
        super().__init__(values)
        self.directory = directory


def directory_of(values: Mapping[str, object]) -> str:
    """Return what relative paths among these options are relative to."""
    return values.directory if isinstance(values, OptionValues) else ""


@attrs.frozen
class Option(Generic[T_co]):
    """
    The declaration of one option.

    :ivar kind: what values it takes.
    :ivar default: its value where the user gives none.
    :ivar help: one line on what it is for, without a full stop.
    :ivar default_text: what applies where the user gives no value, if the default does not say it.
    :ivar example: a value for sample files, if the default is none.
    :ivar details: sentences that a sample file and a reference page add to the help.
    :ivar field: the name of the field that declares it.
    :ivar name: its name for the user; the field's, unless it says otherwise.
    :ivar in_sample: whether a sample file gives it the value of its example; otherwise that line is a comment.
    """

    kind: Kind[T_co]
    default: T_co
    help: str
    default_text: str = ""
    example: object = None
    details: str = ""
    field: str = ""
    name: str = ""
    in_sample: bool = False

    @property
    def default_shown(self) -> str:
        """What applies where the user gives no value, as help texts say it; empty if that is nothing."""
        if self.default_text or self.default in (None, ()):
            return self.default_text
        return self.kind.shown(self.default)

    @property
    def assignment(self) -> str:
        """A line of a TOML file that gives it the value of its example, else its default."""
        return f"{self.name} = {self.kind.toml(self.default if self.example is None else self.example)}"

    @property
    def help_line(self) -> str:
        """The help with the default, as one line."""
        return f"{self.help} (default: {self.default_shown})" if self.default_shown else self.help

    def read(self, value: object, directory: str = "") -> T_co:
        """
        Return the value of the option.

        :raise BadQueueOption: naming the option, the value and what was expected.
        """
        return read_value(self.kind, self.name, value, directory)


def option(
    kind: Kind[T],
    default: T,
    help: str,
    *,
    default_text: str = "",
    example: object = None,
    details: str = "",
    in_sample: bool = False,
) -> T:
    """Return a field that declares an option, for an attrs class; see `Option`."""
    return declare(Option(kind, default, help, default_text, example, details, in_sample=in_sample))


def declare(declaration: Option[T]) -> T:
    """Return a field with this declaration. Its type is that of the option's value, so that annotations are checked."""
    return attrs.field(default=declaration.default, metadata={_OPTION: declaration})


def declared(options_class: type) -> tuple[Option[object], ...]:
    """Return the options that a class declares, its own before those that it inherits."""
    fields = sorted(attrs.fields(options_class), key=lambda field: field.inherited)
    return tuple(
        attrs.evolve(declaration, field=field.name, name=declaration.name or field.name)
        for field in fields
        if isinstance(declaration := field.metadata.get(_OPTION), Option)
    )


def read_options(options_class: type[C], values: Mapping[str, object]) -> C:
    """
    Return the options that the user gave as an instance of their class.

    :param values: texts of the command line or values of a TOML file, by the option's name; None is no value.
    :raise BadQueueOption: if a value is not what its option expects, or an option is not declared.
    """
    options = {option.name: option for option in declared(options_class)}
    refuse_unknown(set(values) - set(options), options)
    directory = directory_of(values)
    given = [(options[name], value) for name, value in values.items() if value is not None]
    return options_class(**{option.field: option.read(value, directory) for option, value in given})


def read_value(kind: Kind[T], name: str, value: object, directory: str) -> T:
    """
    Return a value of that kind.

    :raise BadQueueOption: naming the option, the value and what was expected.
    """
    try:
        return kind.read(value, directory)
    except ValueError as error:
        raise BadQueueOption(f"{name}={value!r}: {error}") from None


def refuse_unknown(unknown: Iterable[str], known: Iterable[str]) -> None:
    """
    :raise BadQueueOption: naming the first of the unknown options, if there are any, and those that are known.
    """
    for name in sorted(unknown):
        raise BadQueueOption(f"unknown option {name!r}; known are {', '.join(sorted(known))}", unknown=name)


def help_text(options: Iterable[Option[object]]) -> str:
    """Return the options as ``key=VALUE: meaning``, one a line."""
    lines = (f"{option.name}={option.kind.placeholder}: {option.help_line}" for option in options)
    return "\n".join(textwrap.fill(line, 118, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


class DeclaredOptions:
    """
    A factory of queues or listeners whose options are declared by a class.

    :cvar options_class: the class.
    """

    options_class: ClassVar[type]

    @property
    def arg_string_format(self) -> str:
        """The options that it takes, one ``key=VALUE: meaning`` a line."""
        return help_text(declared(self.options_class))


class OptionReader:
    """
    Reads options one by one, for a factory without a class of options. An option that is not read is refused by its name.

    Names and types are the same for texts of ``--queue`` and for values of a configuration file.
    """

    def __init__(self, options: Mapping[str, object]) -> None:
        self._left = dict(options)
        self._directory = directory_of(options)
        self._known: list[str] = []

    def text(self, key: str, default: str | None = None) -> str | None:
        """Return a text."""
        return self._read(key, Text(), default)

    def cluster(self, default: str) -> str:
        """Return ``cluster``, the name under which the jobs are served."""
        return self.cluster_name("cluster") or default

    def cluster_name(self, key: str) -> str | None:
        """Return a name, as of a cluster, a cell or a server; see `Name`."""
        return self._read(key, Name(), None)

    def path(self, key: str) -> str | None:
        """Return a path, made absolute: a service that goes to the background changes its working directory."""
        return self._read(key, Path(), None)

    def seconds(self, key: str, default: float | None, least: float = 0.001, most: float = 86400.0) -> float | None:
        """Return a duration in seconds, fractions allowed."""
        return self._read(key, Number("seconds", least, most), default)

    def integer(self, key: str, default: int, least: int = 0, most: int = 2**31) -> int:
        """Return a whole number."""
        return self._read(key, WholeNumber(least, most), default)

    def flag(self, key: str, default: Flag) -> bool | Flag:
        """Return whether yes or no is given; also auto, which is None, if the default is None."""
        if default is None:
            return self._read(key, YesNoAuto(), None)
        return self._read(key, YesNo(), default)

    def words(self, key: str) -> tuple[str, ...]:
        """Return a command and its arguments: a list of words, or a text that is split as a shell splits it."""
        return self._read(key, Command(), ())

    def finish(self) -> None:
        """
        :raise BadQueueOption: if an option was given that was not read.
        """
        refuse_unknown(self._left, self._known)

    def _read(self, key: str, kind: Kind[T], default: D) -> T | D:
        self._known.append(key)
        value = self._left.pop(key, None)
        return default if value is None else read_value(kind, key, value, self._directory)
