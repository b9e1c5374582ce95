"""
Reading the options of a queue or a listener: every one by its name and type, none passed over.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import TypeVar

from jobpush.adapter.interfaces import BadQueueOption

#: What a flag is where nobody has said.
Flag = TypeVar("Flag", bool, None)

_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class OptionReader:
    """
    What a factory reads its options with: every one is taken once, and what is left over is refused by name.

    The same names and types whether they come as text from ``--queue`` or as values from a configuration file.
    """

    def __init__(self, options: Mapping[str, object]) -> None:
        self._left = dict(options)
        self._known: list[str] = []

    def text(self, key: str, default: str | None = None) -> str | None:
        """A text."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value:
            raise BadQueueOption(f"{key}={value!r}: expected a text")
        return value

    def cluster(self, default: str) -> str:
        """``cluster``: the name under which a queue is served."""
        return self.cluster_name("cluster") or default

    def cluster_name(self, key: str) -> str | None:
        """A name of the kind that clusters, cells and servers have: it can be no option of a command."""
        value = self.text(key)
        if value is not None and not _CLUSTER.fullmatch(value):
            raise BadQueueOption(f"{key}={value!r}: expected letters, digits, '_', '-' and '.', at most 63")
        return value

    def path(self, key: str) -> str | None:
        """A path, made absolute: a service that goes to the background changes its directory."""
        value = self.text(key)
        return os.path.abspath(value) if value is not None else None

    def seconds(self, key: str, default: float | None, least: float = 0.001, most: float = 86400.0) -> float | None:
        """A duration in seconds, fractions allowed."""
        value = self._take(key)
        if value is None:
            return default
        expected = f"{key}={value!r}: expected seconds, from {least:g} to {most:g}"
        if isinstance(value, bool):
            raise BadQueueOption(expected)
        try:
            seconds = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise BadQueueOption(expected) from None
        if not least <= seconds <= most:
            raise BadQueueOption(expected)
        return seconds

    def integer(self, key: str, default: int, least: int = 0, most: int = 2**31) -> int:
        """A whole number."""
        value = self._take(key)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,10}", str(value)) or not least <= int(str(value)) <= most:
            raise BadQueueOption(f"{key}={value!r}: expected a whole number from {least} to {most}")
        return int(str(value))

    def flag(self, key: str, default: Flag) -> bool | Flag:
        """Yes or no; auto too, where the default is None."""
        value = self._take(key)
        known = {"yes": True, "no": False, "true": True, "false": False}
        if value is None or (default is None and value == "auto"):
            return default
        if isinstance(value, bool):
            return value
        if not isinstance(value, str) or value not in known:
            raise BadQueueOption(f"{key}={value!r}: expected {'auto, ' if default is None else ''}yes or no")
        return known[value]

    def words(self, key: str) -> tuple[str, ...]:
        """A command line: a list of words, or a text that is taken apart as a shell would."""
        value = self._take(key)
        if value is None:
            return ()
        expected = f"{key}={value!r}: expected a command and its arguments, such as ssh -o BatchMode=yes login1"
        if isinstance(value, str):
            try:
                value = shlex.split(value)
            except ValueError as error:
                raise BadQueueOption(f"{expected} ({error})") from None
        if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
            raise BadQueueOption(expected)
        return tuple(value)

    def finish(self) -> None:
        """
        :raise BadQueueOption: if an option was given that none of the above asked for.
        """
        if self._left:
            raise BadQueueOption(f"unknown option {sorted(self._left)[0]!r}; known are {', '.join(sorted(self._known))}")

    def _take(self, key: str) -> object:
        self._known.append(key)
        return self._left.pop(key, None)
