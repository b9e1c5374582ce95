"""
The service's log as JSON, a line for each event: ``twistd --nodaemon --logger jobpush.runtime.json_log.observer jobpush …``.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from typing import TextIO

from twisted.logger import ILogObserver, LogEvent, formatEvent
from twisted.python.failure import Failure
from zope.interface import provider

#: What Twisted adds to each event for its own use.
_OWN = frozenset({"message", "time", "system", "format", "isError", "why", "text", "level", "logger", "traceback"})


def line(event: LogEvent) -> str:
    """
    One event: ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``text``, ``traceback`` if something failed, and the values that
    its text was made of, as far as JSON has them.
    """
    level = event.get("log_level")
    fields: dict[str, object] = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), timezone.utc).isoformat(timespec="milliseconds"),
        "level": level.name if level is not None else "info",
        "logger": event.get("log_namespace"),
        "text": formatEvent(dict(event)),
    }
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        fields["traceback"] = failure.getTraceback()
    for name, value in event.items():
        if not name.startswith("log_") and name not in _OWN and isinstance(value, str | int | float | bool | None):
            fields[name] = value
    return json.dumps(fields, ensure_ascii=False)


def observer(to: TextIO | None = None) -> ILogObserver:
    """An observer that writes to standard output, where systemd or a container reads it; for twistd's ``--logger``."""
    stream = to or sys.stdout

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        stream.write(line(event) + "\n")
        stream.flush()

    writer: ILogObserver = observe
    return writer
