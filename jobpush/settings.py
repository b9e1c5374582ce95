"""A configuration file (TOML) as a frozen value: every key known, every type checked."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class ConfigError(Exception):
    """The file cannot be read, or holds something unknown or of the wrong kind. Names it."""


@attrs.frozen
class Settings:
    """
    What the command line and the file can say; None where neither does.

    :ivar port: digits, or an endpoint string.
    :ivar state: the state directory.
    :ivar interval: seconds between queries, for queues that do not say their own.
    :ivar access_log: the path of the access log.
    :ivar static: a directory to serve.
    :ivar max_held: how many requests may be held.
    :ivar parking: hold them without their HTTP channels where that can be done.
    :ivar keep_events: how many events the journal keeps.
    :ivar keep_days: for how long it keeps them.
    :ivar nudge: where datagrams that say "look now" come in.
    :ivar nudge_secret: the path of the file with the secret that those by UDP are signed with.
    :ivar queues: (type, options) of each ``[[queue]]``.
    :ivar listeners: (type, options) of each ``[[listener]]``.
    """

    port: str | None = None
    state: str | None = None
    interval: float | None = None
    allow_anonymous: bool | None = None
    access_log: str | None = None
    static: str | None = None
    max_held: int | None = None
    parking: bool | None = None
    keep_events: int | None = None
    keep_days: float | None = None
    nudge: Sequence[str] = ()
    nudge_secret: str | None = None
    queues: Sequence[tuple[str, Mapping[str, object]]] = ()
    listeners: Sequence[tuple[str, Mapping[str, object]]] = ()


_PATHS = ("state", "access_log", "static", "nudge_secret")
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "port": ((str, int), "a number or an endpoint string"),
    "state": ((str,), "a path"),
    "interval": ((int, float), "seconds"),
    "allow_anonymous": ((bool,), "true or false"),
    "access_log": ((str,), "a path"),
    "static": ((str,), "a path"),
    "max_held": ((int,), "a whole number"),
    "parking": ((bool,), "true or false"),
    "keep_events": ((int,), "a whole number"),
    "keep_days": ((int, float), "days"),
    "nudge": ((list,), 'a list of texts such as "unix:/run/jobpush/nudge:mode=666"'),
    "nudge_secret": ((str,), "a path"),
}


def load(path: str) -> Settings:
    """
    Read a file. Paths in it are relative to its directory.

    :raise ConfigError: naming the file, the key, and what was expected.
    """
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in ("queue", "listener"):
            values[key + "s"] = _tables(path, key, value)
            continue
        if key not in _KINDS:
            known = ", ".join(sorted([*_KINDS, "[[queue]]", "[[listener]]"]))
            raise ConfigError(f"{path}: unknown key {key!r}; known are {known}")
        kinds, expected = _KINDS[key]
        wrong = isinstance(value, list) and not all(isinstance(part, str) for part in value)
        if wrong or not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ConfigError(f"{path}: {key} = {value!r}: expected {expected}")
        if key in _PATHS:
            value = os.path.join(os.path.dirname(os.path.abspath(path)), str(value))
        values[key] = str(value) if key == "port" else value
    return Settings(**values)


def _tables(path: str, key: str, value: object) -> list[tuple[str, Mapping[str, object]]]:
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise ConfigError(f"{path}: {key}: expected tables, written as [[{key}]]")
    found: list[tuple[str, Mapping[str, object]]] = []
    for table in value:
        options = dict(table)
        kind = options.pop("type", None)
        if not isinstance(kind, str):
            raise ConfigError(f"{path}: a [[{key}]] has no type = \"…\"")
        found.append((kind, options))
    return found
