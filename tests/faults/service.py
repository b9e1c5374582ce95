"""jobpush as a process that is killed, stopped, and started again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.world import Json, Window, World
from tests.service_process import ROOT, ServiceProcess, twistd_environment

#: Starts ``twistd``, with a fault put into it if the first argument names one. It ends when the suite does, however that ends.
START = (
    "import ctypes, signal, sys; broken = sys.argv.pop(1); ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"
    "if broken:\n    from tests.faults.broken import put_in; put_in(broken)\n"
    "from twisted.scripts.twistd import run; run()"
)

#: Seconds between two looks of the service.
INTERVAL_S = 0.2

#: Seconds after which a command of the scripted Slurm has failed, and for which a job may lack a record of its end.
TIMEOUT_S = 2.0
GRACE_S = 5.0


class Service(ServiceProcess):
    """
    :param directory: for its state, its log and the jobs file.
    :param broken: the faults that are put into it, by name, with commas between them; none if empty.
    :param source: of its jobs, "mock" or "slurm".
    """

    def __init__(self, directory: Path, broken: str = "", source: str = "mock") -> None:
        self.jobs_path = directory / "jobs.json"
        self.state = directory / "state"
        queue = f"mock:file={self.jobs_path}:interval={INTERVAL_S}"
        if source == "slurm":
            times = f"interval={INTERVAL_S}:timeout={TIMEOUT_S}:grace={GRACE_S}"
            queue = f"slurm:bin={directory / 'bin'}:probe=no:{times}"
        super().__init__(directory, "--queue", queue, "--state", str(self.state), "--debug-invariants")
        self.broken = broken
        self.backup: Path | None = None
        self.machine: Mapping[str, str] = {}

    def start(self, seconds: float = 30.0) -> None:
        """Start it; returns at once."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, self.broken, "--nodaemon", "--pidfile=", "jobpush", "--port", str(self.port),
                 *self.arguments],
                cwd=ROOT, env=twistd_environment(self.machine), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    async def up(self, window: Window, world: World, seconds: float = 30.0) -> None:
        """Start it, and wait until it answers; then the window in which it was down ends."""
        self.start()  # by the main thread: with the thread that started it, it would end
        until = time.monotonic() + seconds
        while not await asyncio.to_thread(self._answers):
            if time.monotonic() > until:
                raise AssertionError(f"jobpush does not answer:\n{self.log[-3000:]}")
            await asyncio.sleep(0.05)
        window.close()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        assert self.process is not None
        self.process.send_signal(number)

    async def end(self, number: signal.Signals) -> None:
        """End it with that signal."""
        assert self.process is not None
        self.send(number)
        await asyncio.to_thread(self.process.wait, 20)

    # -- the journal's files

    def journal_events(self) -> list[Json]:
        """Return all events of the journal's file. The service is down."""
        with TemporaryDirectory() as copy:
            for path in self.state.glob("journal.sqlite*"):
                shutil.copy(path, copy)
            with closing(sqlite3.connect(Path(copy, "journal.sqlite"))) as db:
                return [json.loads(bytes(body)) for (body,) in db.execute("SELECT body FROM event ORDER BY seq")]

    def back_up(self) -> None:
        """Make a backup of the journal, as a careful administrator would."""
        backup = self.directory / f"backup{time.monotonic_ns()}.sqlite"
        with closing(sqlite3.connect(self.state / "journal.sqlite")) as db, closing(sqlite3.connect(backup)) as copy:
            db.backup(copy)
        self.backup = backup

    def lose_wal(self) -> None:
        """What was not yet written from the write-ahead log to the journal is lost. The service is down."""
        for end in ("-wal", "-shm"):
            (self.state / f"journal.sqlite{end}").unlink(missing_ok=True)

    def restore(self) -> None:
        """The backup takes the journal's place. The service is down."""
        assert self.backup is not None
        self.lose_wal()
        fresh = self.state / "journal.restored"
        shutil.move(self.backup, fresh)
        os.replace(fresh, self.state / "journal.sqlite")
