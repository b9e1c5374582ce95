"""
The kinds of values that options take: what is expected, how a value is read, and how it is shown.

A value comes as a text from the command line or as a value of a TOML file. Its kind reads both, to the same result.
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar, Generic, TypeVar

import attrs

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_SERVER = r"(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
_SERVERS = re.compile(f"{_SERVER}(?:,{_SERVER}){{0,9}}")
_HOST = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_ORIGIN = re.compile(r"(https?)://([a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_YES_NO = {"yes": True, "no": False, "true": True, "false": False}


class Kind(ABC, Generic[T_co]):
    """
    What values an option takes.

    :cvar types: the Python types that such a value has in a TOML file.
    """

    types: ClassVar[tuple[type, ...]] = (str,)

    @property
    @abstractmethod
    def placeholder(self) -> str:
        """What stands for the value in help texts: ``SECONDS``."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """What a value must be, in words: ``seconds, from 0.001 to 86400``."""

    @abstractmethod
    def read(self, value: object, directory: str = "") -> T_co:
        """
        Return the value that a text or a TOML value stands for.

        :param directory: what relative paths are relative to; the working directory if it is empty.
        :raise ValueError: with what was expected.
        """

    def shown(self, value: object) -> str:
        """Return a value of this kind as help texts show it."""
        return str(value)

    def toml(self, value: object) -> str:
        """Return a value of this kind as a TOML file has it."""
        return to_toml(value)

    def unexpected(self, reason: str = "") -> ValueError:
        """Return the error for a value that is not of this kind."""
        return ValueError(f"expected {self.expected}{reason and f' ({reason})'}")


@attrs.frozen
class Text(Kind[str]):
    """A text that is not empty."""

    placeholder: str = "TEXT"
    expected: str = "a text"

    def read(self, value: object, directory: str = "") -> str:
        if not isinstance(value, str) or not value:
            raise self.unexpected()
        return value


@attrs.frozen
class Name(Kind[str]):
    """A name, as of a cluster, a cell or a server. It does not begin with ``-``, so that no command takes it for an option."""

    placeholder: str = "NAME"
    expected: str = "letters, digits, '_', '-' and '.', at most 63"

    def read(self, value: object, directory: str = "") -> str:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self.unexpected()
        return value


@attrs.frozen
class HostName(Kind[str]):
    """A name or an address of a host without a port; a name may begin with ``*.`` for all names below it."""

    placeholder: str = "NAME"
    expected: str = "a host's name or address without a port, or *.DOMAIN for each name below a domain"

    def read(self, value: object, directory: str = "") -> str:
        text = value.strip("[]") if isinstance(value, str) else ""
        with suppress(ValueError):
            return str(ipaddress.ip_address(text))
        if not _HOST.fullmatch(text):
            raise self.unexpected()
        return text.lower()


@attrs.frozen
class Origin(Kind[str]):
    """The origin of pages as browsers write it (RFC 6454, 6.2): scheme, host, and a port that is not the scheme's own."""

    placeholder: str = "ORIGIN"
    expected: str = "the origin of a page without a path, such as https://gateway.example.org"

    def read(self, value: object, directory: str = "") -> str:
        matched = _ORIGIN.fullmatch(value.lower().removesuffix("/")) if isinstance(value, str) else None
        if matched is None:
            raise self.unexpected()
        scheme, host, port = matched.groups()
        if port is not None and not 0 < int(port) < 65536:
            raise self.unexpected()
        own = port is None or int(port) == {"http": 80, "https": 443}[scheme]
        return f"{scheme}://{host}" if own else f"{scheme}://{host}:{int(port)}"


@attrs.frozen
class Path(Kind[str]):
    """A path, made absolute: a service that goes to the background changes its working directory."""

    placeholder: str = "PATH"
    expected: str = "a path"

    def read(self, value: object, directory: str = "") -> str:
        if not isinstance(value, str) or not value or "\0" in value:
            raise self.unexpected()
        return os.path.abspath(os.path.join(directory, value))


@attrs.frozen
class FarPath:
    """
    A path of this host, or of another one on which commands run.

    :ivar text: as it was given, which is what the other host needs.
    :ivar here: the absolute path on this host.
    """

    text: str
    here: str


@attrs.frozen
class PathWhereCommandsRun(Kind[FarPath]):
    """A path of the host on which the queue's commands run, which another option decides."""

    placeholder: str = "PATH"
    expected: str = "a path"

    def read(self, value: object, directory: str = "") -> FarPath:
        return FarPath(str(value), Path().read(value, directory))


@attrs.frozen
class PathOrServers(Kind["FarPath | str"]):
    """
    A path of the host on which the queue's commands run, or the servers that have the file: ``host`` or ``host:port``,
    separated by commas. What has a ``/``, or ends with the file's own suffix, is a path.
    """

    suffix: str
    placeholder: str = "PATH|SERVERS"

    @property
    def expected(self) -> str:
        return f"a path with a '/' or that ends with {self.suffix}, or host[:port], more than one separated by commas"

    def read(self, value: object, directory: str = "") -> FarPath | str:
        if isinstance(value, str) and "/" not in value and not value.endswith(self.suffix):
            if _SERVERS.fullmatch(value):
                return value
            raise self.unexpected()
        try:
            return PathWhereCommandsRun().read(value, directory)
        except ValueError:
            raise self.unexpected() from None


@attrs.frozen
class Number(Kind[float]):
    """A number of some unit, fractions allowed."""

    unit: str = "seconds"
    least: float = 0.001
    most: float = 86400.0

    types = (int, float)

    @property
    def placeholder(self) -> str:
        return self.unit.upper()

    @property
    def expected(self) -> str:
        return f"{self.unit}, from {self.least:g} to {self.most:g}"

    def read(self, value: object, directory: str = "") -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not self.least <= number <= self.most:  # not a number is not within any range
            raise self.unexpected()
        return number

    def shown(self, value: object) -> str:
        return f"{value:g}"


@attrs.frozen
class WholeNumber(Kind[int]):
    """A whole number that is not negative."""

    least: int = 0
    most: int = 2**31

    types = (int,)
    placeholder = "NUMBER"

    @property
    def expected(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def read(self, value: object, directory: str = "") -> int:
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,10}", str(value)):
            raise self.unexpected()
        number = int(str(value))
        if not self.least <= number <= self.most:
            raise self.unexpected()
        return number


@attrs.frozen
class YesNo(Kind[bool]):
    """True or false; as a text yes or no."""

    types = (bool,)
    placeholder = "yes|no"
    expected = "yes or no; true or false in a TOML file"

    def read(self, value: object, directory: str = "") -> bool:
        if isinstance(value, bool):
            return value
        if not isinstance(value, str) or value not in _YES_NO:
            raise self.unexpected()
        return _YES_NO[value]

    def shown(self, value: object) -> str:
        return "yes" if value else "no"


@attrs.frozen
class YesNoAuto(Kind["bool | None"]):
    """As `YesNo`, or auto, which is None: the program decides."""

    types = (bool, str)
    placeholder = "auto|yes|no"
    expected = "auto, yes or no"

    def read(self, value: object, directory: str = "") -> bool | None:
        if value == "auto":
            return None
        try:
            return YesNo().read(value)
        except ValueError:
            raise self.unexpected() from None

    def shown(self, value: object) -> str:
        return "auto" if value is None else YesNo().shown(value)


@attrs.frozen
class Choice(Kind[str]):
    """One of some words."""

    words: tuple[str, ...]

    @property
    def placeholder(self) -> str:
        return "|".join(self.words)

    @property
    def expected(self) -> str:
        return f"{', '.join(self.words[:-1])} or {self.words[-1]}"

    def read(self, value: object, directory: str = "") -> str:
        if not isinstance(value, str) or value not in self.words:
            raise self.unexpected()
        return value


@attrs.frozen
class Command(Kind["tuple[str, ...]"]):
    """A command and its arguments: a list of words, or a text that is split as a shell splits it."""

    types = (str, list)
    placeholder = "COMMAND"
    expected = "a command and its arguments, such as ssh -o BatchMode=yes login1"

    def read(self, value: object, directory: str = "") -> tuple[str, ...]:
        if isinstance(value, str):
            try:
                value = shlex.split(value)
            except ValueError as error:
                raise self.unexpected(str(error)) from None
        if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
            raise self.unexpected()
        return tuple(value)


@attrs.frozen
class Many(Kind["tuple[T, ...]"], Generic[T]):
    """Several values of one kind: the option is repeated on the command line, and a list in a TOML file."""

    element: Kind[T]

    types = (list,)

    @property
    def placeholder(self) -> str:
        return self.element.placeholder

    @property
    def expected(self) -> str:
        return f"a list, of which each is {self.element.expected}"

    def read(self, value: object, directory: str = "") -> tuple[T, ...]:
        if not isinstance(value, list):
            raise self.unexpected()
        return tuple(self.element.read(part, directory) for part in value)


def is_toml_of(kind: Kind[object], value: object) -> bool:
    """Return whether a value of a TOML file has a type of this kind. A bool is an int in Python, but not in TOML."""
    return isinstance(value, kind.types) and (not isinstance(value, bool) or bool in kind.types)


def to_toml(value: object) -> str:
    """Return a value as a TOML file has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, Sequence):
        return f"[{', '.join(to_toml(part) for part in value)}]"
    return str(value)
