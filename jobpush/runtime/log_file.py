"""
The file of twistd's ``--logfile``, which can be opened anew: whoever rotates logs moves it away and says so (SIGHUP).
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from types import FrameType
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import ILogObserver, textFileLogObserver
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from jobpush.runtime.reload import CannotReload


def log_path(twistd: Mapping[str, Any]) -> str | None:
    """
    Return the file that twistd would log to; None where it would log elsewhere.

    :param twistd: the options of twistd.
    """
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    path: str | None = twistd.get("logfile")
    if not path and not twistd.get("nodaemon"):
        path = "twistd.log"
    return path if path and path != "-" else None


class ServiceLogFile:
    """
    The log file, opened as twistd opens it: it begins a new one when it is long, and on SIGUSR1.

    :raise OSError: if it cannot be opened.
    """

    def __init__(self, reactor: IReactorFromThreads, path: str) -> None:
        self._file = LogFile.fromFullPath(path)
        if not signal.getsignal(signal.SIGUSR1):

            def rotate(number: int, frame: FrameType | None) -> None:
                reactor.callFromThread(self._file.rotate)

            signal.signal(signal.SIGUSR1, rotate)

    def observe_for(self, application: Componentized) -> None:
        """Let twistd log to it, in its own form."""
        application.setComponent(ILogObserver, textFileLogObserver(self._file))

    def reopen(self) -> str:
        """
        Open the file anew.

        :raise CannotReload: if that cannot be done; the log goes on in the old one.
        """
        path: str = self._file.path
        check_writable(path)
        self._file.reopen()
        return f"{path} was opened again"


def check_writable(path: str) -> None:
    """
    Check that a file can be written, and make it if it is not there.

    :raise CannotReload: if it cannot.
    """
    try:
        with open(path, "ab"):
            pass
    except OSError as error:
        raise CannotReload(f"{path} cannot be written: {error.strerror}") from None
