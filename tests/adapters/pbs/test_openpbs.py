"""OpenPBS: the list each tick, and the attributes of what changed."""

from __future__ import annotations

import re
import sys
import time

from twisted.trial.unittest import TestCase

from jobpush.adapter.interfaces import QueueError
from jobpush.core.model import JobDescriptor, Phase
from tests.adapters.pbs.captures import FAKE, Recorded, attributes, told


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
        self.assertEqual(dict((await self.queue.snapshot()).jobs), {})
        outcomes = await self.queue.outcomes([job])
        self.assertEqual({i: told(ended) for i, ended in outcomes.jobs.items()}, {"1.pbslab": "FAILED signal 15"})

    async def test_history_off_and_no_log(self) -> None:
        """Then how a job ended is not known, and that is said."""
        self.fake.server["history"] = False
        self.fake.save()
        facts = await self.queue.check()
        self.assertEqual((facts.accounting, facts.remembers_s, facts.remembers_by), (False, 0.0, "job_history_enable"))
        self.assertIn("LOST", facts.problems[0])
        self.assertFalse((await self.queue.outcomes([JobDescriptor("pbs", "1.pbslab", Phase.RUNNING)])).answered)

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
