"""Texts, times and tables as JSON."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, TypeAlias

#: A value of JSON that is read: what it must be is checked by its reader, or was when it was written.
Json: TypeAlias = Any

#: An object of JSON that is read.
JsonFields = Mapping[str, Json]

#: A text as a JSON string, with characters beyond ASCII as they are. In C, where the interpreter has that.
quoted = encode_basestring

_NAIVE_EPOCH = datetime.datetime(1970, 1, 1)
_EPOCH = _NAIVE_EPOCH.replace(tzinfo=datetime.timezone.utc)

#: Compact JSON as text, with characters beyond ASCII as they are.
to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dumps(fields: object) -> bytes:
    """Return compact JSON in UTF-8. Lone surrogates (a scheduler's bytes that are not UTF-8) become U+FFFD."""
    return utf8(to_json(fields))


def utf8(text: str) -> bytes:
    """Return a text in UTF-8. Lone surrogates become U+FFFD."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


def to_time(seconds: float | None) -> str | None:
    """Return RFC 3339 in UTC with milliseconds, from seconds since the epoch."""
    return _rfc3339(seconds) if seconds is not None else None


# Many jobs are seen, begin or end at the same time.
@lru_cache(4096)
def _rfc3339(seconds: float) -> str:
    moment = _NAIVE_EPOCH + datetime.timedelta(milliseconds=round(seconds * 1000))
    return moment.isoformat(timespec="milliseconds") + "Z"


@lru_cache(4096)
def from_time(text: str) -> float:
    """
    Return seconds since the epoch, from RFC 3339.

    :raise ValueError: if it is something else, or has no zone.
    """
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; expected RFC 3339, such as 2026-11-22T06:29:21Z")
    return round((moment - _EPOCH).total_seconds(), 3)


def quoted_time(seconds: float) -> str:
    """Return a time as a JSON string."""
    return f'"{_rfc3339(seconds)}"'


def quoted_list(texts: Iterable[str]) -> str:
    """Return texts as a JSON array."""
    return f"[{','.join(map(quoted, texts))}]"


def quoted_table(table: Mapping[str, str]) -> str:
    """Return texts by name as a JSON object."""
    try:
        return "{" + ",".join([f"{quoted(name)}:{quoted(text)}" for name, text in table.items()]) + "}"
    except TypeError:  # an adapter put something else than texts there
        return to_json(dict(table))


def quoted_counts(counts: Mapping[str, int]) -> str:
    """Return numbers by state as a JSON object."""
    return "{" + ",".join([f"{quoted(state)}:{count}" for state, count in counts.items()]) + "}"
