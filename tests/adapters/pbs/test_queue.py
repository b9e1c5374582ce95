"""The PBS adapter on recorded and hostile output; ``with_service/test_pbs.py`` runs against a real OpenPBS where one is."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush_adapters.pbs import accounting
from jobpush_adapters.pbs.queue import PbsQueue
from tests.adapters.pbs.captures import PbsCase, Recorded
from tests.adapters.watching import WatchingCase
from tests.support import ManualClock


def recorded(case: TestCase) -> QueueUnderTest:
    fake = Recorded(case.mktemp(), timeout=5.0)
    ids = ("1.pbslab", "4711.pbslab", "9.other-server", "33[4].pbslab")
    task = ("33[4].pbslab", "33[].pbslab", 4)
    return QueueUnderTest(fake.queue, fake.show, fake.fail, ids, task, fake.commands("qstat", "qselect"), record=fake.record)


class PbsContractTests(makeQueueServiceTests(recorded)):  # type: ignore[misc]
    """The public contract."""


class IdTests(SynchronousTestCase):
    """PBS's grammar."""

    def test_canonical(self) -> None:
        """One job, array or subjob; not a queue's name, not a server, not a list."""
        queue = PbsQueue(None)
        verifyObject(IBatchQueueService, queue)
        for good in ("1", "4711.server", "4711[].server.example.org", "4711[3].server", "4711[]"):
            self.assertEqual(queue.canonical_id(good), good)
        for bad in ("workq", "@server", "1@server", "1[2-3].s", "1[x]", "1.", "1.-s", "1..s", "[1]", "12abc", "1 2", "1;id", "-1", "1.s\n"):
            self.assertRaises(InvalidJobId, queue.canonical_id, bad)


    def test_tasks(self) -> None:
        """A subjob's array and index, and back; an id of another kind is none."""
        queue = PbsQueue(None)
        for job_id, expected in (("4711[3].server", ("4711[].server", 3)), ("4711[3]", ("4711[]", 3)), ("4711[].server", None), ("4711.server", None)):
            self.assertEqual(queue.task_of(job_id), expected)
        self.assertEqual(queue.task_id("4711[].server", 3), "4711[3].server")
        with self.assertRaises(InvalidJobId) as caught:
            queue.canonical_id("x")
        self.assertEqual(str(caught.exception), "expected a PBS job id such as 4711.server or 4711, 4711[].server (array), 4711[3].server (subjob)")
        self.assertEqual((queue.cluster, queue.queue_type), ("pbs", "pbs"))


class KindTests(PbsCase):
    """Which PBS it is, and where."""

    def test_which(self) -> None:
        """By what ``qstat --version`` says, on standard output or standard error."""
        neither = "qstat --version: neither PBS nor Torque: "
        for stdout, stderr, expected in [
            (b"pbs_version = 23.06.06\n", b"", 100), (b"x\n", b"qstat: PBS Pro 12\n", 100), (b"OpenPBS 19\n", b"", 100), (b"PBSPro_14\n", b"", 100),
            (b" Version: 6.1.2\n", b"", 0), (b"", b"version: 4.2", 0), (b"x Version: 6", b"", neither + "x Version: 6"), (b"x" * 90, b"\n", neither + "x" * 80 + "\u2026"),
            (b"", b"", neither + "no answer"), (b"\xff", b"", neither + "\ufffd"), (b"myPBS Product", b"", neither + "myPBS Product"),
        ]:  # fmt: skip
            self.queue = self.make()
            self.instead = {"qstat --version": CommandResult(0, stdout, stderr), "qstat -B -f": CommandResult(0, b"Server: t\n", b"")}
            if isinstance(expected, int):
                self.result(self.queue.check())
                self.assertEqual(self.queue.most_named, expected)
                self.asked()
                self.result(self.queue.check())
                self.assertNotIn("qstat --version", self.asked())
            else:
                self.assertEqual(self.failure(self.queue.check()), expected)
                self.assertEqual(self.queue.most_named, 0)

    def environment(self, queue: PbsQueue) -> dict[str, str]:
        self.result(queue.check())
        return {key: value for key, value in self.commands.environments[-1].items() if key.startswith("PBS")}

    def test_environment(self) -> None:
        """What this process's own says of PBS, and the server that is named; of another host's nothing."""
        own = {name: f"/{name}" for name in ("PBS_CONF_FILE", "PBS_SERVER", "PBS_DEFAULT", "PBS_EXEC", "PBS_HOME")}
        self.patch(os, "environ", {**own, "PBS_OTHER": "x", "PATH": os.environ["PATH"]})
        self.assertEqual(self.environment(self.make()), own)
        self.assertEqual(self.environment(self.make(server="s")), {**own, "PBS_SERVER": "s", "PBS_DEFAULT": "s"})
        self.asked()
        self.result(self.make(prefix=("ssh", "far")).check())
        self.assertNotIn("/PBS", " ".join(self.asked()))
        self.patch(os, "environ", {})
        self.assertEqual(self.environment(self.make()), {})

    def test_home(self) -> None:
        """Where the accounting log is looked for: as it is said, by the environment, by pbs.conf, or in the usual place; none of this host's for another."""
        self.server["history"] = False
        found: list[str] = []
        self.patch(accounting, "readable", found.append)
        conf = self.home / "pbs.conf"
        conf.write_text("PBS_EXEC=/opt/pbs\n# PBS_HOME=/no\nPBS_HOME=/first\n PBS_HOME = /of/conf \n")
        (self.home / "empty").write_text("PBS_EXEC=/opt/pbs\n")
        by_conf, by_none = {"PBS_CONF_FILE": str(conf)}, {"PBS_CONF_FILE": str(self.home / "none")}
        for environment, options in [
            ({**by_conf, "PBS_HOME": "/own"}, {}), ({**by_conf, "PBS_HOME": "/own"}, {"home": None}), (by_conf, {"home": None}), (by_none, {"home": None}),
            ({"PBS_CONF_FILE": str(self.home / "empty")}, {"home": None}),
        ]:  # fmt: skip
            self.patch(os, "environ", {"PATH": os.environ["PATH"], **environment})
            self.result(self.make(**options).check())
        self.assertEqual([path.removesuffix("/server_priv/accounting") for path in found], [str(self.home), "/own", "/of/conf", "/var/spool/pbs", "/var/spool/pbs"])


class LineTests(WatchingCase):
    """Which lines of its logs are about which jobs."""

    def test_logs(self) -> None:
        """The server's log and the accounting log; each job once, by its canonical id."""
        queue = PbsQueue(ManualClock(), follow=("/var/spool/pbs/server_logs",))
        self.watch(queue)
        self.assertEqual((self.watches[-1].paths, self.watches[-1].spools), (("/var/spool/pbs/server_logs",), ()))
        self.assertIsNone(self.said(b"11/23/2026 03:00:00.000000;0100;Server@pbs1;Req;;Type 19 request received"))
        self.assertEqual(
            self.said(
                b"11/23/2026 03:00:00.000000;0008;Server@pbs1;Job;12.pbs1;Updated job state to 82 and substate to 41",
                b"11/23/2026 03:00:00;E;13[2].pbs1;user=kim;Exit_status=0",
                b"11/23/2026 03:00:00;L;license;floating license hour:0",
                b"11/23/2026 03:00:00;S;12.pbs1;user=kim",
                b"x 11/23/2026 03:00:00;S;14.pbs1;user=kim",
            ),
            ["12.pbs1", "13[2].pbs1"],
        )
        ids = (b"1" * 13 + b".x", b"x", b"1.%s" % (b"a" * 300))
        self.assertIsNone(self.said(*(b"11/23/2026 03:00:00;S;%s;user=kim" % job_id for job_id in ids)), "no ids")

    def test_which_logs(self) -> None:
        """Those that are named; else the server's, else the accounting log, where they can be read; none of another host."""
        home = Path(self.mktemp()).resolve()
        accounting, server = home / "server_priv" / "accounting", home / "server_logs"
        for make, expected in ((None, None), (accounting, accounting), (server, server)):
            if make is not None:
                make.mkdir(parents=True)
            self.watches.clear()
            self.watch(PbsQueue(ManualClock(), home=str(home)))
            self.assertEqual([watch.paths for watch in self.watches], [] if expected is None else [(str(expected),)])
        self.watches.clear()
        refused = {str(server)}
        self.patch(os, "access", lambda path, mode: mode == os.R_OK | os.X_OK and path not in refused)
        self.watch(PbsQueue(ManualClock(), home=str(home)))
        self.assertEqual(self.watches.pop().paths, (str(accounting),))
        refused.clear()
        self.watch(PbsQueue(ManualClock(), home=str(home), prefix=("ssh", "x")))
        self.assertEqual(self.watches, [])
        self.watch(PbsQueue(ManualClock(), home=str(home), follow=("/else",)))
        self.assertEqual(self.watches[0].paths, ("/else",))
        self.patch(os, "environ", {**os.environ, "PBS_HOME": str(home)})
        self.watch(PbsQueue(ManualClock()))
        self.assertEqual(self.watches[1].paths, (str(server),))
