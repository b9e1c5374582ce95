"""OpenPBS: the list each tick, and the attributes of what changed."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

import attrs
from twisted.trial.unittest import TestCase

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import QueueChanged, QueueError
from jobpush.core.model import JobDescriptor, Phase
from tests import fake_pbs
from tests.adapters.pbs.captures import FAKE, PbsCase, Recorded, attributes, told
from tests.core.world import World
from tests.support import NOW

#: When the jobs of the stand-in were submitted.
SUBMITTED = 1795333349.0


class QuestionTests(PbsCase):
    """What is asked, and when."""

    FIRST = ["qstat --version", "qstat -B -f -F json", "qstat -t -w"]

    def test_first(self) -> None:
        """Which PBS it is, what the server says of itself, the list, and the attributes of all that are in it."""
        self.set("2.pbslab", "RUNNING")
        self.set("1.pbslab", "QUEUED")
        self.look()
        self.assertEqual(self.asked(), [*self.FIRST, "qstat -x -E -f -F json 2.pbslab 1.pbslab"])
        self.look()
        self.assertEqual(self.asked()[0], "qstat -t -w")

    def stamp(self) -> str:
        """Since when modified jobs are asked for in this tick."""
        self.look()
        (call,) = (call for call in self.asked() if call.startswith("qselect"))
        return call.rpartition(".ge.")[2]

    def test_since_when(self) -> None:
        """Since two seconds before the last look, by the server's clock where it differs by more than a command takes."""
        self.look()
        self.clock.advance(70)
        self.assertEqual(self.stamp(), "202611220559.58")
        self.clock.advance(5)
        self.assertEqual(self.stamp(), "202611220601.08")
        for skew, expected in ((2, "202611220601.13"), (-2, "202611220601.13"), (3, "202611220601.16"), (-3, "202611220601.10")):
            self.patch(fake_pbs, "now", lambda skew=skew: self.clock.seconds() + skew)
            self.result(self.queue.check())
            self.assertEqual(self.stamp(), expected)
        self.instead["qstat -B -f -F json"] = CommandResult(0, b'{"timestamp":"soon","Server":{"pbslab":{}}}', b"")
        self.result(self.queue.check())
        self.assertEqual(self.stamp(), "202611220601.13")

    def test_clock_that_is_set(self) -> None:
        """By the server's clock all the same, which may be set with it or not; nothing that was modified meanwhile is missed."""
        for server_too, step, expected in (
            (True, -3600, "202611220500.03"), (True, 3600, "202611220600.03"), (False, -3600, "202611220600.03"), (False, 3600, "202611220500.03"),
        ):  # fmt: skip
            self.setUp()
            if not server_too:
                self.patch(fake_pbs, "now", self.clock.seconds)
            self.clock.advance(5)
            self.look()
            self.clock.advance(5)
            self.set_forward = step
            self.asked()
            stamp = self.stamp()
            self.assertEqual(stamp, expected, (server_too, step))

    def test_without_history(self) -> None:
        """No option that asks for it; what left is not asked for."""
        self.server["history"] = False
        self.set("1.pbslab", "QUEUED")
        self.look()
        del self.server["jobs"]["1.pbslab"]
        self.set("2.pbslab", "QUEUED")
        self.asked()
        self.look()
        self.assertEqual(self.asked(), ["qstat -t -w", "qselect -T -tm.ge.202611220559.58", "qstat -E -f -F json 2.pbslab"])

    def changed(self) -> list[str]:
        """The jobs whose attributes are asked for in this tick."""
        self.look()
        return [word for call in self.asked() if " json " in call for word in call.partition(" json ")[2].split()]

    def test_which_attributes(self) -> None:
        """Those of jobs that are new, whose row is, that were modified, or whose state passes into the next without a sign."""
        self.set("1.pbslab", "QUEUED", modified=0)
        self.set("2.pbslab", "RUNNING", modified=0, substate=41)
        self.set("3.pbslab", "FINISHING", modified=0)
        self.set("4.pbslab", "QUEUED", modified=0, job_state="T")
        self.set("5.pbslab", "QUEUED", modified=0)
        self.set("6.pbslab", "QUEUED", modified=0)
        del self.server["jobs"]["5.pbslab"]["ctime"]
        self.server["jobs"]["6.pbslab"]["Job_Owner"] = "k@h"
        self.assertEqual(self.changed(), ["1.pbslab", "2.pbslab", "3.pbslab", "4.pbslab", "5.pbslab", "6.pbslab"])
        for _ in range(2):
            self.assertEqual(self.changed(), ["2.pbslab", "3.pbslab", "4.pbslab"])
        self.set("2.pbslab", "RUNNING", modified=0)
        self.changed()
        self.server["jobs"]["1.pbslab"]["queue"] = "other"
        self.set("5.pbslab", "HELD", modified=0)
        self.server["jobs"]["6.pbslab"]["modified"] = int(NOW)
        self.server["jobs"]["2.pbslab"]["Job_Name"] = "renamed"
        self.assertEqual(self.changed(), ["1.pbslab", "3.pbslab", "4.pbslab", "5.pbslab", "6.pbslab"])

    def test_five_hundred_at_once(self) -> None:
        """One command asks for so many; each job is asked for once."""
        for number in range(1201):
            self.set(f"{number}.pbslab", "QUEUED", modified=0)
        self.look()
        self.assertEqual([len(call.split()) - 6 for call in self.asked() if " json " in call], [500, 500, 201])

    def test_what_left(self) -> None:
        """The attributes of a job, those of all subjobs of an array; of a job that was also modified once."""
        self.set("1.pbslab", "RUNNING")
        self.set("5[].pbslab", "BEGUN")
        self.set("5[1].pbslab", "RUNNING", modified=0)
        self.look()
        for job_id in self.server["jobs"]:
            self.set(job_id, "COMPLETED")
        self.asked()
        self.look()
        self.assertEqual([call for call in self.asked() if " json " in call],
                         ["qstat -x -E -f -F json 1.pbslab 5[1].pbslab 5[].pbslab", "qstat -x -t -f -F json 5[].pbslab"])  # fmt: skip
        self.clock.advance(3)
        self.assertEqual(self.changed(), [], "they are known to have ended")

    def test_selecting_fails(self) -> None:
        """A usage error is one for good, and the list still works; another is one of this query."""
        self.look()
        self.instead["qselect"] = CommandResult(1, b"", b"qselect: no\n")
        self.set("1.pbslab", "QUEUED", modified=0)
        self.instead["qselect -x -T -tm.ge.202611220559.58"] = CommandResult(1, b"", b"qselect: no\n")
        self.assertEqual(self.failure(self.queue.snapshot()), "qselect ended with status 1: qselect: no")
        self.instead = {"qselect -x -T -tm.ge.202611220559.58": CommandResult(2, b"7.pbslab", b"usage: qselect\n")}
        self.assertEqual(self.told(), {"1.pbslab": "QUEUED"})
        self.asked()
        self.look()
        self.assertEqual(self.asked(), ["qstat -t -w"])

    def test_modified_and_gone(self) -> None:
        """Jobs that came and went between two looks are asked for, and told if they have ended; arrays are not."""
        self.look()
        self.set("1.pbslab", "COMPLETED")
        self.set("2.pbslab", "RUNNING", job_state="M")
        self.set("3[2].pbslab", "FAILED")
        self.instead["qselect -x -T -tm.ge.202611220559.58"] = CommandResult(0, b"3[2].pbslab\n1.pbslab\n3[].pbslab\n2.pbslab\n9.pbslab\n", b"")
        self.asked()
        self.assertEqual(self.told(), {"1.pbslab": "COMPLETED 0", "2.pbslab": "MOVED", "3[2].pbslab": "FAILED 3"})
        self.assertEqual(self.asked()[-1], "qstat -x -E -f -F json 1.pbslab 2.pbslab 3[2].pbslab 9.pbslab")


class SnapshotTests(PbsCase):
    """What becomes of the answers."""

    def test_nothing_of_ours(self) -> None:
        """A job that was modified in what is not told is the same object as before, and one that was not modified too."""
        self.set("1.pbslab", "RUNNING", modified=0)
        self.set("2.pbslab", "RUNNING", modified=0)
        before = self.look().jobs
        self.clock.advance(1)
        self.set("1.pbslab", "RUNNING", resources_used="x")
        after = self.look()
        self.assertEqual([after.jobs[job_id] is before[job_id] for job_id in before], [True, True])
        self.assertEqual((after.began_at, after.ended_at, after.partial), (NOW + 1, NOW + 1, False))
        self.set("1.pbslab", "RUNNING", Job_Name="other")
        self.assertEqual((self.look().jobs["1.pbslab"].name, self.look().jobs["1.pbslab"].observed_at), ("other", NOW + 1))

    def test_how_long_an_end_is_told(self) -> None:
        """For five minutes, as long as the list does not have the job again."""
        self.set("1.pbslab", "RUNNING", modified=0)
        self.set("2.pbslab", "RUNNING", modified=0)
        self.look()
        for number in (1, 2):
            self.set(f"{number}.pbslab", "COMPLETED", modified=0)
        first = self.look()
        self.assertEqual(first.began_at, NOW)
        self.set("2.pbslab", "RUNNING")
        self.assertEqual(self.told(), {"1.pbslab": "COMPLETED 0", "2.pbslab": "RUNNING"})
        kept = self.server["jobs"].pop("2.pbslab")
        self.assertEqual(self.told(), {"1.pbslab": "COMPLETED 0"})
        self.server["jobs"]["2.pbslab"] = kept
        self.clock.advance(300)
        self.assertIn("1.pbslab", self.told())
        self.clock.advance(1)
        self.assertNotIn("1.pbslab", self.told())
        del self.server["jobs"]["2.pbslab"]
        self.assertEqual(self.told(), {})

    def test_pending_subjobs(self) -> None:
        """They are the array's, by whatever letter waits; the array waits with them, or is held; without any it is not told."""
        self.set("5[].pbslab", "BEGUN", stime="Sun Nov 22 07:43:00 2026")
        for index, state in enumerate(("QUEUED", "HELD", "QUEUED", "RUNNING"), 1):
            self.set(f"5[{index}].pbslab", state)
        self.server["jobs"]["5[3].pbslab"]["job_state"] = "W"
        self.set("6[7].pbslab", "QUEUED")
        jobs = self.look().jobs
        self.assertEqual({job_id: told(job) for job_id, job in jobs.items()},
                         {"5[].pbslab": "QUEUED", "5[4].pbslab": "RUNNING", "6[7].pbslab": "QUEUED"})  # fmt: skip
        self.assertEqual((str(jobs["5[].pbslab"].pending_tasks), jobs["5[].pbslab"].started_at), ("1-3", None))
        self.set("5[].pbslab", "HELD")
        self.set("5[1].pbslab", "RUNNING")
        jobs = self.look().jobs
        self.assertEqual((told(jobs["5[].pbslab"]), str(jobs["5[].pbslab"].pending_tasks)), ("HELD HELD_BY_USER", "2-3"))
        self.assertIs(self.look().jobs["5[].pbslab"], jobs["5[].pbslab"])
        for index in (2, 3):
            self.set(f"5[{index}].pbslab", "RUNNING")
        self.set("5[].pbslab", "BEGUN")
        self.assertNotIn("5[].pbslab", self.look().jobs)
        self.set("5[9].pbslab", "QUEUED")
        self.assertEqual(str(self.look().jobs["5[].pbslab"].pending_tasks), "9")

    def test_a_subjob_waits_again(self) -> None:
        """It is one of its array's pending ones then; the attributes of those are not asked for."""
        self.set("5[].pbslab", "BEGUN")
        self.set("5[1].pbslab", "RUNNING")
        self.set("5[2].pbslab", "QUEUED")
        self.assertEqual(set(self.look().jobs), {"5[].pbslab", "5[1].pbslab"})
        self.set("5[1].pbslab", "QUEUED")
        self.asked()
        jobs = self.look().jobs
        self.assertEqual({job_id: str(job.pending_tasks) for job_id, job in jobs.items()}, {"5[].pbslab": "1-2"})
        self.assertEqual([call for call in self.asked() if " json " in call], [])

    def test_left_between_two_commands(self) -> None:
        """A row without attributes is told next time, by its history; a known one that has none this time stays as it was."""
        self.set("1.pbslab", "QUEUED", modified=0)
        self.set("2.pbslab", "FINISHING", modified=0)
        empty = json.dumps({"Jobs": {}}, indent=1)
        self.set("5[].pbslab", "QUEUED", modified=0)
        self.instead["qstat -x -E -f -F json 1.pbslab 2.pbslab 5[].pbslab"] = CommandResult(0, empty.encode(), b"")
        for _ in range(2):
            self.assertEqual(self.told(), {})
        self.instead.clear()
        del self.server["jobs"]["5[].pbslab"]
        self.assertEqual(self.told(), {"1.pbslab": "QUEUED", "2.pbslab": "FINISHING"})
        self.instead["qstat -x -E -f -F json 2.pbslab"] = CommandResult(0, empty.encode(), b"")
        self.assertEqual(self.told(), {"1.pbslab": "QUEUED", "2.pbslab": "FINISHING"})

    def test_rejected(self) -> None:
        """Ten reasons at most are told; all are counted, and those whose id is known are not absent. Nothing understood is a failure."""
        for number in range(1, 14):
            self.set(f"{number}.pbslab", "QUEUED")
        listed = self.answer(["qstat", "-t", "-w"]).stdout
        for number in range(1, 13):
            self.set(f"{number}.pbslab", "QUEUED", job_state="odd\u0007")
        self.instead["qstat -t -w"] = CommandResult(0, listed + b"x\n", b"")
        snapshot = self.look()
        self.assertEqual((set(snapshot.jobs), snapshot.rejected_count, len(snapshot.rejected)), ({"13.pbslab"}, 13, 10))
        self.assertEqual(snapshot.rejected[:2], ("the row makes no sense: x", "job 1.pbslab has no state"))
        self.assertEqual(snapshot.rejected_ids, frozenset(f"{number}.pbslab" for number in range(1, 13)))
        self.instead["qstat -t -w"] = CommandResult(0, b"\n".join(listed.split(b"\n")[:2]) + b"\nx\n", b"")
        self.assertEqual(self.failure(self.queue.snapshot()), "qstat: no row could be understood: the row makes no sense: x")

    def test_not_yet_ended(self) -> None:
        """What was modified and is not in the list may have come after it: it is told next time; one that makes no sense is noted."""
        self.look()
        self.set("1.pbslab", "RUNNING")
        self.set("2.pbslab", "COMPLETED", job_state="odd")
        self.instead["qstat -t -w"] = CommandResult(0, b"", b"")
        self.instead["qselect -x -T -tm.ge.202611220559.58"] = CommandResult(0, b"1.pbslab\n2.pbslab\n", b"")
        snapshot = self.look()
        self.assertEqual((snapshot.jobs, snapshot.rejected_ids), ({}, {"2.pbslab"}))
        self.instead.clear()
        self.assertEqual(self.told()["1.pbslab"], "RUNNING")

    def test_named(self) -> None:
        """Plain jobs by their attributes; arrays and subjobs are left to the list; unknown ones are not there."""
        self.look()
        self.asked()
        self.set("1.pbslab", "RUNNING")
        self.set("3.pbslab", "COMPLETED")
        self.set("4.pbslab", "RUNNING", job_state="")
        self.clock.advance(2)
        snapshot = self.result(self.queue.named(["1.pbslab", "5[].pbslab", "5[1].pbslab", "3.pbslab", "4.pbslab", "7.pbslab"]))
        self.assertEqual(self.asked(), ["qstat -x -E -f -F json 1.pbslab 3.pbslab 4.pbslab 7.pbslab"])
        self.assertEqual({job_id: told(job) for job_id, job in snapshot.jobs.items()}, {"1.pbslab": "RUNNING", "3.pbslab": "COMPLETED 0"})
        self.assertEqual((snapshot.began_at, snapshot.ended_at, snapshot.jobs["1.pbslab"].observed_at), (NOW + 2, NOW + 2, NOW + 2))
        self.assertEqual(self.result(self.queue.named(["5[].pbslab"])).jobs, {})
        self.assertEqual(self.asked(), [])


class EventCase(PbsCase):
    """What is told of jobs from look to look."""

    def setUp(self) -> None:
        super().setUp()
        self.world = World()
        self.world.policy = attrs.evolve(self.world.policy, task_id=self.queue.task_id, accounting=True, lists_ended=False)

    def events(self) -> dict[str, list[str]]:
        """The states that this look tells, by job."""
        found: dict[str, list[str]] = {}
        self.clock.advance(1)
        for job_id, state, _ in self.world.look(*self.look().jobs.values()):
            found.setdefault(job_id.removesuffix(".pbslab"), []).append(state)
        return found

    def subjob(self, index: int, state: str, **fields: Any) -> None:
        """A subjob in that state, with its array's start."""
        self.set(f"5[{index}].pbslab", state, **{"stime": "Sun Nov 22 07:43:00 2026", **fields})


class EventTests(EventCase):
    """Of arrays."""

    def never_ran(self, letter: str, **fields: Any) -> dict[str, Any]:
        """What PBS keeps of a subjob that was deleted while it waited."""
        return {"job_state": letter, "exec_host": "", "run_count": "", "comment": "Subjob finished", **fields}

    def test_subjob_deleted_while_it_waits(self) -> None:
        """It never runs and does not succeed, whatever its array does; the array is what its worst subjob is."""
        self.set("5[].pbslab", "BEGUN")
        self.subjob(1, "RUNNING")
        self.subjob(2, "QUEUED")
        self.assertEqual(self.events(), {"5[1]": ["QUEUED", "RUNNING"], "5[]": ["QUEUED", "RUNNING"]})
        self.subjob(2, "CANCELLED", **self.never_ran("X", substate=70))
        self.assertEqual(self.events(), {"5[2]": ["CANCELLED"]})
        self.subjob(1, "COMPLETED")
        self.subjob(2, "COMPLETED", **self.never_ran("F", Exit_status=0))
        self.set("5[].pbslab", "COMPLETED", run_count="", exec_host="")
        self.assertEqual(self.events(), {"5[1]": ["COMPLETED"], "5[]": ["CANCELLED"]})
        self.assertEqual({told(self.world.job(job_id)) for job_id in ("5[].pbslab", "5[2].pbslab")}, {"CANCELLED"})
        self.assertEqual(self.events(), {})

    def test_array_deleted(self) -> None:
        """Between two looks: those that waited never ran, and have no exit code."""
        self.set("5[].pbslab", "BEGUN")
        self.subjob(1, "RUNNING")
        self.subjob(2, "QUEUED")
        self.events()
        self.subjob(1, "COMPLETED", substate=91, Exit_status=271)
        self.subjob(2, "COMPLETED", **self.never_ran("F", substate=91, Exit_status=1))
        self.set("5[].pbslab", "COMPLETED", substate=91, Exit_status=1, run_count="", exec_host="")
        self.assertEqual(self.events(), {"5[1]": ["CANCELLED"], "5[2]": ["CANCELLED"], "5[]": ["CANCELLED"]})
        self.assertEqual([told(self.world.job(f"5{part}.pbslab")) for part in ("[1]", "[2]", "[]")],
                         ["CANCELLED signal 15", "CANCELLED", "CANCELLED signal 15"])  # fmt: skip


class HistoryOffTests(EventCase):
    """A server that keeps no history, with an accounting log."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = self.home / "server_priv" / "accounting"
        self.directory.mkdir(parents=True)
        self.log("L;license;")
        self.server["history"] = False
        self.assertEqual(self.events(), {})
        self.result(self.queue.check())

    def log(self, text: str) -> None:
        """This line is added to the log."""
        with open(self.directory / "20261122", "a", encoding="ascii") as file:
            file.write(f"11/22/2026 06:00:00;{text}\n")

    def end(self, job_id: str, status: int, ctime: float = SUBMITTED) -> None:
        """A job leaves, with its record."""
        self.server["jobs"].pop(job_id, None)
        self.log(f"E;{job_id};user=kim jobname=n queue=workq ctime={int(ctime)} start=1795333380 exec_host=n1/0 end=1795333440 Exit_status={status}")

    def test_left(self) -> None:
        """Each job is told once, with its end, in the look that misses it; nobody is asked for its attributes."""
        self.set("1.pbslab", "RUNNING")
        self.events()
        self.end("1.pbslab", 7)
        self.assertEqual(self.events(), {"1": ["FAILED"]})
        job = self.world.job("1.pbslab")
        self.assertEqual((told(job), job.settled, job.name, job.ended_at), ("FAILED 7", True, "n", 1795333440.0))
        for _ in range(2):
            self.clock.advance(200)
            self.assertEqual(self.events(), {})

    def test_came_and_went(self) -> None:
        """Between two looks, or before its attributes could be asked for."""
        self.end("1.pbslab", 0)
        self.set("2.pbslab", "QUEUED")
        self.instead["qstat -E -f -F json 2.pbslab"] = CommandResult(153, json.dumps({"Jobs": {}}, indent=1).encode(), b"")
        self.assertEqual(self.events(), {"1": ["QUEUED", "RUNNING", "COMPLETED"]})
        self.end("2.pbslab", 3)
        self.assertEqual(self.events(), {"2": ["QUEUED", "RUNNING", "FAILED"]})
        self.assertEqual(self.events(), {})

    def test_listed_still(self) -> None:
        """The record of a job that the list still has counts once it has left."""
        self.set("1.pbslab", "FINISHING")
        self.events()
        kept = self.server["jobs"]["1.pbslab"]
        self.end("1.pbslab", 7)
        self.server["jobs"]["1.pbslab"] = kept
        self.assertEqual(self.events(), {})
        del self.server["jobs"]["1.pbslab"]
        self.assertEqual(self.events(), {"1": ["FAILED"]})

    def test_deleted(self) -> None:
        """One that waited has ended; one that ran ends with its record."""
        self.set("1.pbslab", "QUEUED")
        self.set("2.pbslab", "RUNNING")
        self.events()
        del self.server["jobs"]["1.pbslab"]
        for number in (1, 2):
            self.log(f"D;{number}.pbslab;requestor=kim@h")
        self.assertEqual(self.events(), {"1": ["CANCELLED"]})
        self.end("2.pbslab", 271)
        self.assertEqual(self.events(), {"2": ["CANCELLED"]})
        self.assertEqual((told(self.world.job("1.pbslab")), told(self.world.job("2.pbslab"))), ("CANCELLED", "CANCELLED signal 15"))

    def test_subjobs(self) -> None:
        """One that its array's row told as ended is not told again when both leave."""
        self.set("5[].pbslab", "BEGUN")
        self.subjob(1, "RUNNING")
        self.subjob(2, "RUNNING")
        self.events()
        self.log("E;5[1].pbslab;user=kim ctime=1795333349 exec_host=n1/0 end=1795333441 Exit_status=3")
        self.subjob(1, "FAILED", job_state="X")
        self.assertEqual(self.events(), {"5[1]": ["FAILED"]})
        self.server["jobs"].clear()
        self.log("E;5[2].pbslab;user=kim ctime=1795333349 exec_host=n1/0 end=1795333442 Exit_status=0")
        self.log("E;5[].pbslab;user=kim ctime=1795333349 end=1795333442 Exit_status=1")
        self.assertEqual(self.events(), {"5[2]": ["COMPLETED"], "5[]": ["FAILED"]})

    def test_another_job_by_that_id(self) -> None:
        """A record of another user's job, or of another submission, is not this job's end."""
        self.set("1.pbslab", "RUNNING", Job_Owner="robin@h")
        self.set("2.pbslab", "RUNNING")
        self.events()
        self.end("1.pbslab", 0)
        self.end("2.pbslab", 0, SUBMITTED + 5)
        self.assertEqual(self.events(), {"2": ["LOST", "QUEUED", "RUNNING", "COMPLETED"]})
        self.assertEqual((self.world.job("1.pbslab").state, self.world.job("1.pbslab").user), ("RUNNING", "robin"))

    def test_switched_off(self) -> None:
        """Under the running service: the query fails as long as what the server keeps is not asked again; then the log tells."""
        self.server["history"] = True
        self.result(self.queue.check())
        self.set("1.pbslab", "RUNNING")
        self.events()
        self.server["history"] = False
        why = "the server keeps no history any more (job_history_enable): qselect: PBS is not configured to maintain job history"
        for _ in range(2):
            failed = self.failureResultOf(self.queue.snapshot(), QueueChanged)
            self.assertEqual(str(failed.value), why)
        facts = self.result(self.queue.check())
        self.assertIn("keeps no history", facts.problems[0])
        self.assertEqual(self.events(), {})
        self.end("1.pbslab", 7)
        self.assertEqual(self.events(), {"1": ["FAILED"]})

    def test_switched_on(self) -> None:
        """The server's history tells from then on: the log is not read any more, and it is followed anew if history ends again."""
        self.server["history"] = True
        self.result(self.queue.check())
        self.end("1.pbslab", 7)
        self.assertEqual(self.events(), {})
        self.server["history"] = False
        self.result(self.queue.check())
        self.assertEqual(self.events(), {}, "what the log has told before is not told again")
        self.end("2.pbslab", 7)
        self.assertEqual(self.events(), {"2": ["QUEUED", "RUNNING", "FAILED"]})

    def test_switched_off_between_two_commands(self) -> None:
        """Seen by the attributes, too, in whatever they were asked for."""
        self.server["history"] = True
        self.result(self.queue.check())
        self.server["history"] = False
        self.assertIn("keeps no history any more", self.failure(self.queue.outcomes([JobDescriptor("pbs", "1.pbslab", Phase.RUNNING)])))
        self.assertIn("keeps no history any more", self.failure(self.queue.snapshot()))


class OutcomeTests(PbsCase):
    """What became of jobs that left."""

    def job(self, job_id: str = "1.pbslab", submitted_at: float | None = SUBMITTED, **fields: Any) -> JobDescriptor:
        return JobDescriptor("pbs", job_id, Phase.RUNNING, submitted_at=submitted_at, **{"observed_at": NOW, **fields})

    def test_history(self) -> None:
        """Of the same submission, if it has ended; what is true of an array is not true of each of its subjobs."""
        for number, state in ((1, "FAILED"), (2, "RUNNING"), (3, "COMPLETED"), (4, "COMPLETED")):
            self.set(f"{number}.pbslab", state)
        self.set("5[].pbslab", "COMPLETED")
        del self.server["jobs"]["4.pbslab"]["ctime"]
        self.look()
        self.asked()
        self.clock.advance(1)
        jobs = [self.job("1.pbslab"), self.job("2.pbslab"), self.job("3.pbslab", 1.0), self.job("4.pbslab"), self.job("5[].pbslab"), self.job("6.pbslab")]
        outcomes = self.result(self.queue.outcomes(jobs))
        self.assertEqual(self.asked(), ["qstat -x -E -f -F json 1.pbslab 2.pbslab 3.pbslab 4.pbslab 6.pbslab"])
        self.assertEqual(outcomes.no_record, {"6.pbslab"})
        self.assertEqual({job_id: (told(job), job.observed_at) for job_id, job in outcomes.jobs.items()},
                         {"1.pbslab": ("FAILED 3", NOW + 1), "4.pbslab": ("COMPLETED 0", NOW + 1)})  # fmt: skip
        again = self.result(self.queue.outcomes([self.job("3.pbslab", None)]))
        self.assertEqual(set(again.jobs), {"3.pbslab"})

    def log(self, *lines: str, day: float = NOW) -> None:
        """These lines are added to the accounting log."""
        directory = self.home / "server_priv" / "accounting"
        directory.mkdir(parents=True, exist_ok=True)
        with open(directory / time.strftime("%Y%m%d", time.gmtime(day)), "a", encoding="ascii") as file:
            file.writelines(f"11/22/2026 06:00:00;{text}\n" for text in lines)

    def test_which_log(self) -> None:
        """Where the server keeps no history; not on another host, not where it cannot be read."""
        self.log()
        self.server["history"] = False
        for options, readable in (({}, True), ({"prefix": ("ssh",)}, False), ({"home": "/none"}, False)):
            self.queue = self.make(**options)
            self.assertEqual(self.result(self.queue.check()).accounting, readable)
            self.assertEqual(self.result(self.queue.outcomes([self.job()])).jobs, {})
        self.server["history"] = True
        self.queue = self.make()
        self.assertNotIn("accounting log", " ".join(self.result(self.queue.check()).problems))

    def test_log(self) -> None:
        """Ended so, still open, or no record, if the log reaches back so far and has a line that is later than the first question."""
        self.server["history"] = False
        whose = f"user=kim ctime={int(SUBMITTED)}"
        end = f"{whose} end={int(NOW)} Exit_status=1"
        self.log(f"E;1.pbslab;{end}", f"E;3[].pbslab;{end}", "E;2.pbslab;ctime=1 Exit_status=1", f"S;4.pbslab;{whose}", "D;4.pbslab;requestor=kim@h",
                 f"E;6.pbslab;{end.replace('kim', 'robin')}", "E;7.pbslab;x", day=NOW - 86400)  # fmt: skip
        self.result(self.queue.check())
        jobs = [self.job("1.pbslab"), self.job("2.pbslab"), self.job("3[].pbslab"), self.job("4.pbslab"), self.job("5.pbslab", observed_at=NOW - 3 * 86400),
                self.job("6.pbslab", user="kim"), self.job("7.pbslab")]  # fmt: skip
        self.asked()
        for later, no_record in ((False, set()), (False, set()), (True, {"2.pbslab", "6.pbslab"}), (False, {"2.pbslab", "6.pbslab"})):
            if later:
                self.log("L;license;floating license hour:0")
            outcomes = self.result(self.queue.outcomes(jobs))
            self.assertEqual({job_id: told(job) for job_id, job in outcomes.jobs.items()}, {"1.pbslab": "FAILED 1"})
            self.assertEqual((outcomes.still_open, outcomes.no_record), ({"4.pbslab"}, no_record))
        self.assertEqual(self.asked(), [])
        self.assertEqual(self.result(self.queue.outcomes([self.job("2.pbslab"), self.job("8.pbslab")])).no_record, {"2.pbslab"}, "8 is asked about for the first time")
        log = self.home / "server_priv" / "accounting"
        for path in log.iterdir():
            path.unlink()
        log.rmdir()
        outcomes = self.result(self.queue.outcomes(jobs[2:3]))
        self.assertEqual((outcomes.no_record, outcomes.jobs), (frozenset(), {}))
        self.assertEqual(self.failure(self.queue.outcomes(jobs)), f"{log}: No such file or directory")

    def test_recorded(self) -> None:
        """Of jobs that nothing is known of: those of the history that have ended, an array with its subjobs."""
        self.set("1.pbslab", "FAILED")
        self.set("2.pbslab", "RUNNING")
        self.set("3.pbslab", "FAILED", job_state="")
        self.set("5[].pbslab", "COMPLETED")
        self.set("5[1].pbslab", "COMPLETED")
        self.set("5[2].pbslab", "FAILED")
        self.set("6[].pbslab", "BEGUN")
        self.set("6[1].pbslab", "COMPLETED", job_state="X")
        self.result(self.queue.check())
        self.asked()
        found = self.result(self.queue.recorded(["1.pbslab", "2.pbslab", "3.pbslab", "4.pbslab", "5[].pbslab", "6[].pbslab"]))
        self.assertEqual({job_id: told(job) for job_id, job in found.items()}, {
            "1.pbslab": "FAILED 3", "5[].pbslab": "FAILED 3", "5[1].pbslab": "COMPLETED 0", "5[2].pbslab": "FAILED 3", "6[1].pbslab": "COMPLETED 0",
        })  # fmt: skip
        self.assertEqual((found["5[].pbslab"].counts, found["5[].pbslab"].settled), ({"COMPLETED": 1, "FAILED": 1}, True))
        self.assertEqual(self.asked(), ["qstat -x -E -f -F json 1.pbslab 2.pbslab 3.pbslab 4.pbslab", "qstat -x -t -f -F json 5[].pbslab", "qstat -x -t -f -F json 6[].pbslab"])

    def test_recorded_in_the_log(self) -> None:
        """Without history; of jobs that have not ended it has a beginning; without a log nothing."""
        self.server["history"] = False
        self.result(self.queue.check())
        self.assertEqual(self.result(self.queue.recorded(["1.pbslab"])), {})
        self.log("E;1.pbslab;user=kim ctime=1 Exit_status=4", "E;1.pbslab;user=kim ctime=2 exec_host=n/0 Exit_status=5", "Q;2.pbslab;user=kim ctime=1",
                 "D;3.pbslab;requestor=kim@h", "E;4[].pbslab;user=kim ctime=1 Exit_status=0")  # fmt: skip
        self.result(self.queue.check())
        found = self.result(self.queue.recorded(["1.pbslab", "2.pbslab", "3.pbslab", "4[].pbslab"]))
        self.assertEqual({job_id: told(job) for job_id, job in found.items()}, {"1.pbslab": "FAILED 5", "2.pbslab": "UNKNOWN"})

    def test_no_jobs(self) -> None:
        """Nobody is asked."""
        outcomes = self.result(self.queue.outcomes([]))
        self.assertEqual((outcomes.no_record, outcomes.jobs, self.asked()), (frozenset(), {}, []))


class AdapterTests(TestCase):
    """The adapter and its commands."""

    def setUp(self) -> None:
        self.fake = Recorded(self.mktemp())
        self.queue = self.fake.queue

    async def states(self) -> dict[str, str]:
        return {job_id: told(job) for job_id, job in (await self.queue.snapshot()).jobs.items()}

    async def test_only_what_changed_is_asked_for(self) -> None:
        """The list each time; attributes of new and modified jobs alone."""
        for number in range(250):
            self.fake.server["jobs"][f"{number}.pbslab"] = attributes("QUEUED", modified=0)
        self.fake.save()
        await self.queue.snapshot()
        before = len(self.fake.calls())
        self.fake.set("7.pbslab", "RUNNING")
        states = await self.states()
        self.assertEqual((states["7.pbslab"], states["8.pbslab"], len(states)), ("RUNNING", "QUEUED", 250))
        first, second, third = self.fake.calls()[before:]
        self.assertEqual((first, third), ("qstat -t -w", "qstat -x -E -f -F json 7.pbslab"))
        self.assertRegex(second, r"\Aqselect -x -T -tm\.ge\.[0-9]{12}\.[0-9]{2}\Z")

    async def test_a_change_that_no_letter_shows(self) -> None:
        """A user's hold becomes an operator's: the letter stays, the modification tells."""
        self.fake.set("1.pbslab", "HELD", modified=0)
        self.assertEqual(await self.states(), {"1.pbslab": "HELD HELD_BY_USER"})
        self.fake.set("1.pbslab", "HELD", Hold_Types="uo")
        self.assertEqual(await self.states(), {"1.pbslab": "HELD HELD_BY_ADMIN"})

    async def test_a_job_that_left_is_in_the_history(self) -> None:
        """It is told with its end in the very tick in which it is not listed any more, and for a while after."""
        self.fake.set("1.pbslab", "RUNNING", modified=0)
        await self.queue.snapshot()
        self.fake.set("1.pbslab", "FAILED", modified=0)
        self.assertEqual(await self.states(), {"1.pbslab": "FAILED 3"})
        self.assertEqual(await self.states(), {"1.pbslab": "FAILED 3"})

    async def test_a_job_that_came_and_went(self) -> None:
        """Between two looks: the modification tells."""
        await self.queue.snapshot()
        self.fake.set("1.pbslab", "COMPLETED")
        self.assertEqual(await self.states(), {"1.pbslab": "COMPLETED 0"})

    async def test_arrays(self) -> None:
        """Waiting subjobs are a range; others have rows of their own; when the array is gone its subjobs are asked for."""
        self.fake.set("5[].pbslab", "BEGUN")
        for index, state in enumerate(["RUNNING", "QUEUED", "QUEUED", "FAILED"], 1):
            self.fake.set(f"5[{index}].pbslab", state)
        self.fake.server["jobs"]["5[4].pbslab"]["job_state"] = "X"
        self.fake.save()
        jobs = (await self.queue.snapshot()).jobs
        self.assertEqual({i: told(job) for i, job in jobs.items()},
                         {"5[].pbslab": "QUEUED", "5[1].pbslab": "RUNNING", "5[4].pbslab": "FAILED 3"})  # fmt: skip
        self.assertEqual(str(jobs["5[].pbslab"].pending_tasks), "2-3")
        self.assertEqual(jobs["5[].pbslab"].aliases, ("5[]",))
        for job_id in self.fake.server["jobs"]:
            self.fake.server["jobs"][job_id] = attributes("COMPLETED")
        self.fake.save()
        self.assertEqual(await self.states(), {f"5[{index}].pbslab": "COMPLETED 0" for index in (1, 2, 3, 4)})

    async def test_short_ids(self) -> None:
        """They are this server's, once its name is known; another server's keep their own."""
        self.assertEqual(self.queue.canonical_id("12"), "12")
        await self.queue.check()
        for text, expected in {"12": "12.pbslab", "12[3]": "12[3].pbslab", "12[]": "12[].pbslab", "12.other": "12.other"}.items():
            self.assertEqual(self.queue.canonical_id(text), expected)

    async def test_environment(self) -> None:
        """``server=`` and nothing that would change the answer."""
        fake = Recorded(self.mktemp(), server="pbs9")
        fake.write("qstat", '#!/bin/sh\nenv >$DIR/environment\necho "pbs_version = 23"\n')
        await self.assertFailure(fake.queue.check(), QueueError)
        lines = (fake.directory / "environment").read_text().splitlines()
        environment = dict(text.split("=", 1) for text in lines)
        self.assertEqual((environment["PBS_SERVER"], environment["TZ"], environment["LC_ALL"]), ("pbs9", "UTC", "C.UTF-8"))
        self.assertLessEqual(set(environment), {"PATH", "LC_ALL", "TZ", "PBS_SERVER", "PBS_DEFAULT", "PWD", "OLDPWD", "SHLVL", "_"})

    async def test_neither(self) -> None:
        """A ``qstat`` of another scheduler is said to be that."""
        self.fake.write("qstat", "#!/bin/sh\necho 'SGE 8.1.9'\n")
        error = await self.assertFailure(self.queue.check(), QueueError)
        self.assertIn("neither PBS nor Torque: SGE 8.1.9", str(error))

    async def test_history_off(self) -> None:
        """Outcomes come from the accounting log where it can be read."""
        log = self.fake.directory / "server_priv" / "accounting"
        log.mkdir(parents=True)
        self.fake.server["history"] = False
        self.fake.set("1.pbslab", "RUNNING", modified=0)
        facts = await self.queue.check()
        self.assertEqual((facts.accounting, facts.remembers_s), (True, None))
        job = (await self.queue.snapshot()).jobs["1.pbslab"]
        ctime = int(job.submitted_at or 0)
        day = time.strftime("%Y%m%d", time.gmtime())
        (log / day).write_text(f"11/22/2026 07:44:00;E;1.pbslab;user=kim ctime={ctime} start={ctime + 31} end={ctime + 91} Exit_status=271\n")
        self.fake.show({})
        shown = (await self.queue.snapshot()).jobs
        self.assertEqual({i: told(ended) for i, ended in shown.items()}, {"1.pbslab": "FAILED signal 15"})
        outcomes = await self.queue.outcomes([job])
        self.assertEqual({i: told(ended) for i, ended in outcomes.jobs.items()}, {"1.pbslab": "FAILED signal 15"})

    async def test_history_off_and_no_log(self) -> None:
        """Then how a job ended is not known, and that is said."""
        self.fake.server["history"] = False
        self.fake.save()
        facts = await self.queue.check()
        self.assertEqual((facts.accounting, facts.remembers_s, facts.remembers_by), (False, 0.0, "job_history_enable"))
        self.assertIn("LOST", facts.problems[0])
        self.assertEqual((await self.queue.outcomes([JobDescriptor("pbs", "1.pbslab", Phase.RUNNING)])).no_record, frozenset())

    async def test_selecting_by_time_unknown(self) -> None:
        """A version whose ``qselect`` does not know it: the list still works."""
        self.fake.write("qselect", "#!/bin/sh\necho 'usage: qselect' >&2\nexit 2\n")
        self.fake.set("1.pbslab", "QUEUED")
        await self.queue.snapshot()
        self.fake.set("1.pbslab", "RUNNING")
        self.assertEqual(await self.states(), {"1.pbslab": "RUNNING"})
        self.flushLoggedErrors()

    async def test_attributes_that_make_no_sense(self) -> None:
        """That job is counted and not absent; the others are told."""
        self.fake.set("1.pbslab", "QUEUED")
        self.fake.set("2.pbslab", "QUEUED")
        self.fake.write("qstat", f"#!{sys.executable}\n" + re.sub(r"    print_json\(found\)", "    found.get('2.pbslab', {}).pop('job_state', 0)\n    print_json(found)", FAKE.read_text()))
        snapshot = await self.queue.snapshot()
        self.assertEqual((set(snapshot.jobs), snapshot.rejected_ids, snapshot.rejected_count), ({"1.pbslab"}, frozenset({"2.pbslab"}), 1))

    async def test_two_hundred_megabytes(self) -> None:
        """An answer without end fails the query, and only that."""
        await self.queue.check()
        self.fake.write("qstat", "#!/bin/sh\nexec cat /dev/zero\n")
        error = await self.assertFailure(self.queue.snapshot(), QueueError)
        self.assertIn("bytes", str(error))
