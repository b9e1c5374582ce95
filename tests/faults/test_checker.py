"""What the checker finds in small stories of a journal, a file and a client."""

from __future__ import annotations

import random
import time
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.checker import Checker
from tests.faults.history import History, Version
from tests.faults.world import Barrier, Json, State, Stretch, Window, World


class CheckerTests(SynchronousTestCase):
    """`Checker`."""

    def setUp(self) -> None:
        path = Path(self.mktemp())
        self.history = History(path, random.Random(1))
        self.now = time.time()
        self.world = World(0)
        self.history.versions = [self.version(-20, QUEUED=1), self.version(-10, RUNNING=1)]
        self.events = [self.event(1, "QUEUED", -19.5), self.event(2, "RUNNING", -9.5)]

    def version(self, at: float, **states: int) -> Version:
        """The file from a time on: states, and the jobs that have them."""
        return Version(self.now + at, self.now + at, {str(number): state for state, number in states.items()})

    def event(self, seq: int, state: str, at: float, **fields: object) -> Json:
        """An event of job 1."""
        moment = datetime.fromtimestamp(self.now + at, timezone.utc).isoformat()
        ended = state in ("COMPLETED", "LOST")
        job = {"id": "1", "state": state, "phase": "DONE" if ended else state, "settled": ended, "confidence": "observed",
               "outcome": state if ended else None, **fields}  # fmt: skip
        return {"seq": seq, "cursor": f"e-{seq}", "at": moment, "job": job}

    def found(self, log: str = "") -> dict[str, int]:
        """The violations."""
        service: Any = SimpleNamespace(log=log)
        Checker(self.world, self.history, self.events).check(service, self.now)
        return dict(self.world.violations)

    def told(self, *seqs: int, end: int = 2, branch: int = 0) -> None:
        """A client was told these."""
        told = [f"e-{seq}" for seq in seqs]
        self.world.stretches.append(Stretch("client", "e-0", lambda event: True, branch, f"e-{end}", told))

    def test_right(self) -> None:
        """Nothing is found where nothing is; what came twice counts once."""
        self.told(1, 1, 2)
        self.told(1, end=1)
        self.assertEqual(self.found(), {})

    def test_clients(self) -> None:
        """What is missing, too much, or in another order."""
        for told, violation in [((1,), "not told"), ((1, 2, 3), "told wrongly"), ((2, 1), "order")]:
            self.world = World(0)
            self.told(*told)
            self.assertEqual(self.found(), {violation: 1})

    def test_branches(self) -> None:
        """A client is compared with the journal that it was told from."""
        self.world.lost = [[*self.events, self.event(3, "RUNNING", -1)]]
        self.told(1, 2, 3, end=3)
        self.told(1, 2, branch=1)
        self.assertEqual(self.found(), {})

    def test_gap(self) -> None:
        """Numbers follow each other."""
        self.events[1] = self.event(3, "RUNNING", -9.5)
        self.assertEqual(self.found(), {"gap": 1})

    def test_invented(self) -> None:
        """A state that never stood in the file, and that is not concluded from absence."""
        self.events.append(self.event(3, "LOST", -0.1))
        self.assertEqual(self.found().get("invented"), None)
        self.events[2] = self.event(3, "COMPLETED", -0.1)
        self.assertEqual(self.found()["invented"], 1)

    def test_state_not_told(self) -> None:
        """A state that stood, unless the service could not look."""
        del self.events[1]
        self.world.down = [Window(0.0, 1.0, self.now - 8, self.now - 2)]
        self.assertEqual(self.found(), {})
        self.world.down = [Window(0.0, 1.0, self.now - 8, self.now - 6)]
        self.assertEqual(self.found(), {"state not told": 1})

    def test_pauses(self) -> None:
        """After looks that failed the next one may be late by as long as they failed, at most by 10 s; not by more."""
        del self.events[1]
        begin = self.now - 10  # since when a state stands that is not told
        for seconds, late in ((1.0, 1.2), (4.0, 4.2), (60.0, 10.0)):
            broken = Version(begin - seconds, begin - seconds, None)
            self.history.versions = [self.version(-100, QUEUED=1), broken, self.version(-10, RUNNING=1)]
            checker = Checker(self.world, self.history, self.events)
            (part,) = checker.free(begin, begin + 50)
            self.assertAlmostEqual(part[0] - begin, late, 3)
        self.history.versions[1:1] = [Version(self.now - 75, self.now - 75, None), self.version(-71, QUEUED=1)]
        pauses = list(checker.pauses())  # the service has not seen that it was mended for a second
        self.assertEqual([(round(a - self.now, 3), round(b - self.now, 3)) for a, b in pauses], [(-71, -66.8), (-10, 0)])
        self.history.versions = [self.version(-100, QUEUED=1), Version(begin - 1, begin - 1, None), self.version(-10, RUNNING=1)]
        self.assertEqual(self.found(), {"state not told": 1})

    def test_states(self) -> None:
        """One job's answers: another state than the journal's, and a time-out although there was an event."""
        self.world.states = [State("c", "1", 1, "e-2", "RUNNING", 0), State("c", "1", 2, "e-2", None, 0)]
        self.assertEqual(self.found(), {})
        self.world.states = [State("c", "1", 1, "e-2", "QUEUED", 0), State("c", "1", 1, "e-2", None, 0)]
        self.assertEqual(self.found(), {"told wrongly": 1, "not told": 1})

    def test_barriers(self) -> None:
        """One that is done too soon, and one that is not although all have ended."""
        self.world.barriers = [Barrier("c", ["1"], "e-2", [], False, 0)]
        self.assertEqual(self.found(), {})
        self.world.barriers = [Barrier("c", ["1"], "e-2", ["1"], True, 0)]
        self.assertEqual(self.found(), {"told wrongly": 1})
        self.history.versions.append(self.version(-1, COMPLETED=1))
        self.events.append(self.event(3, "COMPLETED", -0.5))
        self.world = World(0)
        self.world.barriers = [Barrier("c", ["1"], "e-3", [], False, 0)]
        self.assertEqual(self.found(), {"not told": 1})

    def test_unknown(self) -> None:
        """A 404 for a job is right only before anything was told of it, to anybody."""
        self.world.heard = {"e-1": self.now - 19}
        self.world.unknowns = [("c", "1", self.now - 19.2, 0), ("c", "7", self.now, 0)]
        self.assertEqual(self.found(), {})
        self.world.unknowns = [("c", "1", self.now - 18, 0)]
        self.assertEqual(self.found(), {"unknown": 1})

    def test_log(self) -> None:
        """A traceback, and a violated invariant."""
        self.assertEqual(self.found("fine\nTraceback (most recent call last):\n"), {"log": 1})
