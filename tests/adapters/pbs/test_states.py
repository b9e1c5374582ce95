"""PBS's states, by table and by what a real OpenPBS printed."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.aggregate import aggregate
from jobpush.core.model import Outcome, Phase
from jobpush_adapters.pbs import parse, states
from tests.adapters.pbs.captures import CAPTURES, capture, described, told
from tests.endings import NAMES, cell, check_column
from tests.support import NOW


class StateTests(SynchronousTestCase):
    """The states of PBS, on what a real OpenPBS printed."""

    def test_gallery(self) -> None:
        """Each kind of job, recorded side by side."""
        shown = {f"{job.name} {job_id}".split(".")[0]: told(job) for job_id, job in described("gallery.root.qstat-xt-f-json").items()}
        for name, expected in {
            "g_ok 11440": "COMPLETED 0", "g_exit3 11441": "FAILED 3", "g_sig9 11442": "FAILED signal 9", "g_walltime 11443": "TIMEOUT",
            "g_run 11444": "RUNNING", "g_run2node 11445": "RUNNING", "g_del_run 11446": "CANCELLED signal 15", "g_del_q 11447": "CANCELLED",
            "g_toobig 11448": "QUEUED RESOURCES", "g_stopped 11449": "QUEUED OTHER", "g_held_u 11450": "HELD HELD_BY_USER",
            "g_wait 11451": "QUEUED BEGIN_TIME", "g_susp 11452": "SUSPENDED", "g_exiting 11453": "FINISHING", "g_parent 11454": "RUNNING",
            "g_dep_wait 11455": "QUEUED DEPENDENCY", "g_badparent 11456": "FAILED 1", "g_dep_killed 11457": "CANCELLED DEPENDENCY",
            "g_arr 11458[]": "RUNNING", "g_arr 11458[1]": "FAILED 1", "g_arr 11458[2]": "FAILED 2", "g_arr 11458[3]": "RUNNING",
            "g_arr_done 11459[1]": "COMPLETED 0", "g_arr_held 11460[]": "HELD HELD_BY_USER", "g_rerun 11461": "RUNNING",
            "g_stagein 11462": "STARTING", "g_interactive_like 11463": "RUNNING",
        }.items():  # fmt: skip
            self.assertEqual(shown[name], expected, name)

    def test_what_ended(self) -> None:
        """Ends that were recorded one by one."""
        ends = {}
        for path in sorted([*CAPTURES.glob("end.*.qstat-xf-json"), *CAPTURES.glob("state.*.qstat-xf-json"), *CAPTURES.glob("mom-restarted.*json")]):
            ends.update({job.name: told(job) for job in described(path.name).values()})
        for name, expected in {
            "directkill": "FAILED signal 9", "directnoexec": "LAUNCH_FAIL 254 ERROR", "dep_afternotok": "CANCELLED DEPENDENCY",
            "dep2_afterok": "CANCELLED DEPENDENCY", "notrerun": "NODE_FAIL", "cputkill": "FAILED 137", "ok": "COMPLETED 0",
            "exit3": "FAILED 3", "walltime": "TIMEOUT", "sigkill": "FAILED 137", "mom_norerun": "NODE_FAIL",
            "hk_delete": "CANCELLED", "prolog_exit1": "LAUNCH_FAIL ERROR",
        }.items():  # fmt: skip
            if name in ends:
                self.assertEqual(ends[name], expected, name)
        self.assertGreater(len(ends), 20)

    def test_arrays(self) -> None:
        """A subjob that was deleted while it waited has its array's start, end and exit status; an array is what its subjobs are."""
        cancelled, ran = ("CANCELLED", None, None), ("COMPLETED 0", True, True)
        for name, expected in {
            "array.subjob-deleted-0s": {"[]": ("RUNNING", True, None), "[1]": ("STARTING", True, None), "[2]": ("QUEUED", None, None), "[3]": cancelled},
            "array.subjob-deleted": {"[]": ("UNKNOWN", True, None), "[1]": ran, "[2]": ran, "[3]": cancelled},
            "array.deleted-3s": {"[]": ("RUNNING", True, None), "[1]": ("RUNNING", True, None), "[2]": cancelled, "[3]": cancelled},
            "array.deleted": {"[]": ("UNKNOWN", True, None), "[1]": ("CANCELLED signal 15", True, True), "[2]": cancelled, "[3]": cancelled},
            "array.held-deleted": {"[]": ("UNKNOWN", None, None), "[1]": cancelled, "[2]": cancelled},
        }.items():  # fmt: skip
            jobs = described(f"{name}.qstat-xtf-json")
            found = {job_id[1:].partition(".")[0]: (told(job), job.started_at and True, job.ended_at and True) for job_id, job in jobs.items()}
            self.assertEqual(found, expected, name)
            self.assertEqual([job.reason for job in jobs.values() if told(job) == "CANCELLED"], [None] * list(expected.values()).count(cancelled))

    def test_moved(self) -> None:
        """To another server: its own outcome."""
        (job,) = described("moved-to-other-server.qstat-x-f-json").values()
        self.assertEqual((job.state, job.settled), ("MOVED", True))
        for letter, substate, outcome in (("M", None, Outcome.MOVED), ("E", 94, Outcome.MOVED), ("F", 94, Outcome.MOVED), ("E", 95, None), ("E", 93, None)):
            self.assertEqual(states.pbs_state(letter, substate, 0, "n", False, started=True).outcome, outcome, (letter, substate))

    def test_table(self) -> None:
        """Substate before letter, letter before exit status."""
        for letter, substate, status, holds, depends, expected in [
            ("Q", 10, None, "n", False, "QUEUED"), ("Q", 22, None, "s", True, "QUEUED DEPENDENCY"), ("H", 22, None, "s", True, "QUEUED DEPENDENCY"),
            ("H", 20, None, "us", True, "HELD HELD_BY_ADMIN"), ("H", 20, None, "u", False, "HELD HELD_BY_USER"),
            ("H", 20, None, "uo", False, "HELD HELD_BY_ADMIN"), ("H", 20, None, "s", False, "HELD HELD_BY_ADMIN"),
            ("H", 20, -3, "p", False, "HELD ERROR"), ("W", 30, None, "n", False, "QUEUED BEGIN_TIME"), ("T", 0, None, "n", False, "QUEUED"),
            ("R", 42, None, "n", False, "RUNNING"), ("R", 41, None, "n", False, "STARTING"), ("R", 15, 3, "n", False, "STARTING"),
            ("R", None, None, "n", False, "RUNNING"), ("S", 43, None, "n", False, "SUSPENDED"), ("U", 42, None, "n", False, "SUSPENDED"),
            ("B", 70, 1, "n", False, "RUNNING"), ("E", 51, 0, "n", False, "FINISHING"), ("M", 94, None, "n", False, "MOVED"),
            ("F", 94, None, "n", False, "MOVED"), ("F", 91, 271, "n", False, "CANCELLED signal 15"), ("F", 91, None, "n", False, "CANCELLED"),
            ("F", 91, -4, "n", False, "NODE_FAIL"), ("F", 92, 0, "n", False, "COMPLETED 0"), ("F", 92, None, "s", True, "CANCELLED"),
            ("F", 92, 4, "n", False, "FAILED 4"), ("F", 93, -29, "n", False, "TIMEOUT"), ("F", 93, -28, "n", False, "TIMEOUT"),
            ("F", 93, -27, "n", False, "OUT_OF_MEMORY"), ("F", 93, -26, "n", False, "OUT_OF_MEMORY"), ("F", 93, -4, "n", False, "NODE_FAIL"),
            ("F", 93, -1, "n", False, "LAUNCH_FAIL ERROR"), ("F", 93, 254, "n", False, "LAUNCH_FAIL 254 ERROR"), ("F", 93, -19, "n", False, "CANCELLED"),
            ("F", 93, 271, "n", False, "FAILED signal 15"), ("F", 93, 137, "n", False, "FAILED 137"), ("X", 92, 0, "n", False, "COMPLETED 0"),
            ("X", 93, 265, "n", False, "FAILED signal 9"), ("X", None, 0, "n", False, "COMPLETED 0"), ("F", 93, -99, "n", False, "FAILED"),
            ("Z", 10, None, "n", False, "UNKNOWN"),
        ]:  # fmt: skip
            state = states.pbs_state(letter, substate, status, holds, depends)
            shown = (state.outcome or state.phase).value
            shown += f" {state.exit_code}" if state.exit_code is not None else f" signal {state.signal}" if state.signal is not None else ""
            shown += f" {state.reason_code.value}" if state.reason_code else ""
            self.assertEqual(shown, expected, (letter, substate, status))
            self.assertEqual(state.outcome is not None, state.phase is Phase.DONE)
        self.assertFalse(states.pbs_state("F", 93, -11, "n", False).settled, "it is being rerun")
        self.assertFalse(states.pbs_state("F", 77, 0, "n", False).settled, "a later version's")

    def test_torque(self) -> None:
        """Its own letter and codes."""
        for letter, status, expected in [
            ("C", 0, "COMPLETED"), ("C", -11, "TIMEOUT"), ("C", -10, "OUT_OF_MEMORY"), ("C", -12, "TIMEOUT"), ("C", 271, "FAILED"),
            ("C", 254, "FAILED"), ("C", None, "CANCELLED"), ("E", 0, "FINISHING"), ("R", None, "RUNNING"), ("Y", None, "UNKNOWN"),
        ]:  # fmt: skip
            state = states.torque_state(letter, status, "n", False)
            self.assertEqual((state.outcome or state.phase).value, expected, (letter, status))

    def test_fields(self) -> None:
        """What else is told of a job."""
        job = described("gallery.root.qstat-xt-f-json")["11445.pbslab"]
        self.assertEqual((job.name, job.user, job.account, job.queue, job.nodes), ("g_run2node", "alice", "acct1", "workq", "pbslab"))
        self.assertEqual((job.submitted_at, job.started_at, job.time_limit_s), (1795333349.0, 1795333349.0, 3600))
        self.assertEqual((job.aliases, job.workdir), (("11445",), "/srv/cluster/users/alice"))
        rerun = described("gallery.root.qstat-xt-f-json")["11461.pbslab"]
        self.assertEqual(rerun.attempt, 1)
        subjob = described("gallery.root.qstat-xt-f-json")["11458[3].pbslab"]
        self.assertEqual((subjob.parent, subjob.task_index), ("11458[].pbslab", 3))
        recorded = capture("gallery.root.qstat-xt-f-json")
        tagged = attrs.evolve(recorded, stdout=recorded.stdout.replace(b'"PBS_O_HOME":', b'"workflow":"w7",\n"PBS_O_HOME":'))
        jobs = [parse.describe("pbs", job_id, a, NOW) for job_id, a in parse.parse_jobs(tagged).items()]
        self.assertEqual({job.comment for job in jobs}, {"workflow=w7"})

    def test_the_table_of_endings(self) -> None:
        """The documentation's table says what the recorded run of a real OpenPBS says; what it did not do is said so."""
        recorded: dict[str, dict[str, Any]] = {}
        for path in sorted([*CAPTURES.glob("*.qstat-xf-json"), CAPTURES / "mixed.qstat-x-f-json", CAPTURES / "gallery.root.qstat-xt-f-json"]):
            for job in described(path.name).values():
                if job.done:
                    recorded[str(job.name)] = {"state": job.state, "exit_code": job.exit_code, "signal": job.signal}
        names = {
            "success": "ok", "exit 3": "exit3", "exit 255": "exit255", "exit 137": "childsig", "signal": "sigsegv", "kill -9": "sigkill",
            "at once": "g_ok", "cancel pending": "g_del_q", "cancel waiting": "wait", "cancel running": "g_del_run", "time-out": "walltime",
            "requeue": "hk_rerun", "bad output path": "nohome", "memory": "memory", "hold and release": "held_released", "suspend and resume": "susp_resumed",
            "dependency": "dep_ok", "bad work directory": "badworkdir", "array, one fails": "array.one-fails", "array, cancelled": "array.deleted",
        }  # fmt: skip
        for name in ("array.one-fails", "array.deleted"):
            subjobs = [job for job in described(f"{name}.qstat-xtf-json").values() if job.parent is not None]
            array = aggregate("1[].pbslab", subjobs, None, None)
            recorded[name] = {"state": array.state, "exit_code": array.exit_code, "signal": array.signal}
        cells = {name: cell(recorded[names[name]]) if names.get(name) in recorded else "not recorded" for name in NAMES}
        check_column("PBS", cells)


class WholeTests(SynchronousTestCase):
    """Each state with all that belongs to it."""

    def test_listed(self) -> None:
        """By the letter, and the substate of one that runs; a dependency alone makes nothing of a job that is not held for it."""
        D, S = states.ReasonCode, states.State
        for letter, substate, holds, depends, expected in [
            ("Q", 10, "n", False, S(Phase.QUEUED)), ("Q", 10, "n", True, S(Phase.QUEUED)), ("Q", 22, "n", False, S(Phase.QUEUED, reason_code=D.DEPENDENCY)),
            ("R", 42, "n", True, S(Phase.RUNNING)), ("R", 42, "s", True, S(Phase.RUNNING)), ("R", None, "n", True, S(Phase.RUNNING)),
            ("R", 41, "n", True, S(Phase.STARTING)), ("R", 13, "n", False, S(Phase.STARTING, flags=("stage_in",))),
            ("R", 14, "n", False, S(Phase.STARTING, flags=("stage_in",))), ("R", 15, "n", False, S(Phase.STARTING, flags=("stage_in",))),
            ("R", 16, "n", False, S(Phase.STARTING)), ("R", 22, "n", False, S(Phase.QUEUED, reason_code=D.DEPENDENCY)),
            ("W", 30, "n", True, S(Phase.QUEUED, reason_code=D.BEGIN_TIME)), ("T", 0, "n", True, S(Phase.QUEUED, flags=("transit",))),
            ("B", 70, "n", True, S(Phase.RUNNING)), ("S", 43, "n", True, S(Phase.SUSPENDED)), ("U", 43, "n", False, S(Phase.SUSPENDED, flags=("user_busy",))),
            ("E", 51, "n", True, S(Phase.FINISHING)), ("M", 94, "n", False, S(Phase.DONE, Outcome.MOVED, settled=True)), ("Z", 42, "n", False, S(Phase.UNKNOWN)),
            ("H", 20, "s", True, S(Phase.HELD, reason_code=D.HELD_BY_ADMIN)), ("H", None, "s", True, S(Phase.QUEUED, reason_code=D.DEPENDENCY)),
            ("H", None, "us", True, S(Phase.HELD, reason_code=D.HELD_BY_ADMIN)), ("H", 22, "n", True, S(Phase.QUEUED, reason_code=D.DEPENDENCY)),
            ("H", 22, "s", False, S(Phase.QUEUED, reason_code=D.DEPENDENCY)), ("H", 22, "us", True, S(Phase.HELD, reason_code=D.HELD_BY_ADMIN)),
            ("H", 20, "u", True, S(Phase.HELD, reason_code=D.HELD_BY_USER)), ("H", 20, "n", False, S(Phase.HELD, reason_code=D.OTHER)),
        ]:  # fmt: skip
            self.assertEqual(states.pbs_state(letter, substate, 3, holds, depends), expected, (letter, substate, holds, depends))

    def test_ended(self) -> None:
        """By the substate, and then the exit status."""
        S, done = states.State, Phase.DONE
        failed = S(done, Outcome.FAILED, exit_code=4, settled=True)
        for substate, status, depends, expected in [
            (94, 0, False, S(done, Outcome.MOVED, settled=True)), (91, 0, False, S(done, Outcome.CANCELLED, exit_code=0, settled=True)),
            (91, 271, True, S(done, Outcome.CANCELLED, signal=15, settled=True)), (91, -1, False, S(done, Outcome.CANCELLED, settled=True)),
            (91, -11, False, S(done, Outcome.CANCELLED, settled=True)), (91, -4, False, S(done, Outcome.NODE_FAIL, reason="the execution daemon restarted", settled=True)),
            (92, None, True, S(done, Outcome.CANCELLED, settled=True)), (92, 4, True, failed), (93, 4, False, failed), (None, 4, False, failed),
            (77, 4, False, S(done, Outcome.FAILED, exit_code=4)), (93, None, True, S(done, Outcome.FAILED, settled=True)),
        ]:  # fmt: skip
            for letter in "FX":
                self.assertEqual(states.pbs_state(letter, substate, status, "n", depends), expected, (substate, status, depends))

    def test_never_started(self) -> None:
        """A subjob that was not started has its array's exit status; another job that was not has none."""
        S, done, by = states.State, Phase.DONE, states.ReasonCode.DEPENDENCY
        cancelled = S(done, Outcome.CANCELLED, settled=True)
        for substate, status, depends, subjob, expected in [
            (92, 0, False, True, cancelled), (91, 1, False, True, cancelled), (70, None, False, True, cancelled), (70, 0, False, True, cancelled),
            (92, 7, True, True, cancelled), (91, -4, False, True, cancelled), (92, None, False, True, cancelled), (None, 0, False, True, cancelled),
            (92, None, True, True, attrs.evolve(cancelled, reason_code=by)), (92, None, False, False, attrs.evolve(cancelled, reason_code=by)),
            (91, None, True, False, cancelled), (94, None, False, False, S(done, Outcome.MOVED, settled=True)), (93, None, False, False, S(done, Outcome.FAILED, settled=True)),
            (93, 4, False, False, S(done, Outcome.FAILED, exit_code=4, settled=True)), (92, 0, False, False, S(done, Outcome.COMPLETED, exit_code=0, settled=True)),
        ]:  # fmt: skip
            for letter in "FX":
                found = states.pbs_state(letter, substate, status, "n", depends, started=False, subjob=subjob)
                self.assertEqual(found, expected, (letter, substate, status, depends, subjob))

    def test_deleted(self) -> None:
        """SIGTERM, where the server says that somebody deleted the job; its own exit status stays what it is."""
        S, done = states.State, Phase.DONE
        for status, deleted, expected in [
            (271, True, S(done, Outcome.CANCELLED, signal=15, settled=True)), (271, False, S(done, Outcome.FAILED, signal=15, settled=True)),
            (0, True, S(done, Outcome.COMPLETED, exit_code=0, settled=True)), (265, True, S(done, Outcome.FAILED, signal=9, settled=True)),
        ]:  # fmt: skip
            self.assertEqual(states.pbs_state("F", 93, status, "n", False, deleted=deleted), expected, (status, deleted))

    def test_exit_statuses(self) -> None:
        """Every one that PBS sets itself, those around them, and what a job can set."""
        S, done, error = states.State, Phase.DONE, states.ReasonCode.ERROR
        known: dict[int | None, states.State] = {
            None: S(done, Outcome.CANCELLED, settled=True), 0: S(done, Outcome.COMPLETED, exit_code=0, settled=True),
            1: S(done, Outcome.FAILED, exit_code=1, settled=True), 128: S(done, Outcome.FAILED, exit_code=128, settled=True),
            253: S(done, Outcome.FAILED, exit_code=253, settled=True),
            254: S(done, Outcome.LAUNCH_FAIL, exit_code=254, reason="its shell or program is missing", reason_code=error, settled=True),
            255: S(done, Outcome.FAILED, exit_code=255, settled=True), 256: S(done, Outcome.FAILED, exit_code=256, settled=True),
            257: S(done, Outcome.FAILED, signal=1, settled=True), 265: S(done, Outcome.FAILED, signal=9, settled=True),
            -1: S(done, Outcome.LAUNCH_FAIL, reason="could not be started, before its files were", reason_code=error, settled=True),
            -2: S(done, Outcome.LAUNCH_FAIL, reason="could not be started, after its files were", reason_code=error, settled=True),
            -3: S(done, Outcome.LAUNCH_FAIL, reason="could not be started; it may be tried again", reason_code=error, settled=True),
            -4: S(done, Outcome.NODE_FAIL, reason="the execution daemon restarted", settled=True),
            -5: S(done, Outcome.NODE_FAIL, reason="the execution daemon restarted; it was checkpointed", settled=True),
            -6: S(done, Outcome.NODE_FAIL, reason="the execution daemon restarted; it was checkpointed and can be moved", settled=True),
            -7: S(done, Outcome.NODE_FAIL, reason="could not be restarted from its checkpoint", settled=True),
            -8: S(done, Outcome.FAILED, reason="exit status -8", settled=True), -9: S(done, Outcome.FAILED, reason="exit status -9", settled=True),
            -10: S(done, Outcome.LAUNCH_FAIL, reason="its user or group is not valid on the host", reason_code=error, settled=True),
            -11: S(done, Outcome.FAILED, reason="being rerun"), -12: S(done, Outcome.FAILED, reason="checkpointed and killed", settled=True),
            -13: S(done, Outcome.LAUNCH_FAIL, reason="bad password", reason_code=error, settled=True),
            -14: S(done, Outcome.FAILED, reason="being rerun: a host of it failed"),
            -15: S(done, Outcome.FAILED, reason="being requeued for a restart from its checkpoint"),
            -16: S(done, Outcome.FAILED, reason="being requeued: a hook rejected it"),
            -17: S(done, Outcome.CANCELLED, reason="deleted: a hook rejected it", settled=True),
            -18: S(done, Outcome.FAILED, reason="being requeued by a hook"), -19: S(done, Outcome.CANCELLED, reason="deleted by a hook", settled=True),
            -20: S(done, Outcome.NODE_FAIL, reason="being rerun: no connection to its first host"),
            -21: S(done, Outcome.LAUNCH_FAIL, reason="security breach in the directory of PBS", reason_code=error, settled=True),
            -22: S(done, Outcome.LAUNCH_FAIL, reason="a hook failed", reason_code=error, settled=True),
            -23: S(done, Outcome.LAUNCH_FAIL, reason="no Kerberos credentials", reason_code=error, settled=True),
            -24: S(done, Outcome.FAILED, reason="ncpus exceeded (burst)", settled=True), -25: S(done, Outcome.FAILED, reason="ncpus exceeded (sum)", settled=True),
            -26: S(done, Outcome.OUT_OF_MEMORY, reason="vmem exceeded", settled=True), -27: S(done, Outcome.OUT_OF_MEMORY, reason="mem exceeded", settled=True),
            -28: S(done, Outcome.TIMEOUT, reason="cput exceeded", settled=True), -29: S(done, Outcome.TIMEOUT, reason="walltime exceeded", settled=True),
            -30: S(done, Outcome.FAILED, reason="exit status -30", settled=True),
        }  # fmt: skip
        for status, expected in known.items():
            self.assertEqual(states.exit_of(status), expected, status)
        torque = {
            -8: S(done, Outcome.LAUNCH_FAIL, reason="its command could not be executed", reason_code=error, settled=True),
            -9: S(done, Outcome.LAUNCH_FAIL, reason="its output files could not be created", reason_code=error, settled=True),
            -13: S(done, Outcome.LAUNCH_FAIL, reason="its cgroups could not be created", reason_code=error, settled=True),
            -14: S(done, Outcome.LAUNCH_FAIL, reason="its prologue failed", reason_code=error, settled=True),
            -15: S(done, Outcome.FAILED, reason="exit status -15", settled=True),
            -10: S(done, Outcome.OUT_OF_MEMORY, reason="mem exceeded", settled=True), -11: S(done, Outcome.TIMEOUT, reason="walltime exceeded", settled=True),
            -12: S(done, Outcome.TIMEOUT, reason="cput exceeded", settled=True), -29: S(done, Outcome.FAILED, reason="exit status -29", settled=True),
            254: S(done, Outcome.FAILED, exit_code=254, settled=True), 271: S(done, Outcome.FAILED, signal=15, settled=True),
            **{status: known[status] for status in (None, 0, 1, 256, *range(-7, 0))},
        }  # fmt: skip
        for status, expected in torque.items():
            self.assertEqual(states.torque_state("C", status, "n", False), expected, status)

    def test_torque_without_exit_status(self) -> None:
        """One that was started and has no exit status is lost, whatever comes; one that was not started was deleted."""
        lost = states.State(Phase.DONE, Outcome.LOST, reason="it has no exit status", settled=True)
        self.assertEqual(states.torque_state("C", None, "n", False, started=True), lost)
        self.assertEqual(states.torque_state("C", None, "n", False).outcome, Outcome.CANCELLED)

    def test_torque_letters(self) -> None:
        """As PBS's, without substates: H waits for another job where only a dependency holds it, and is held otherwise."""
        D, S = states.ReasonCode, states.State
        for letter, holds, depends, expected in [
            ("H", "s", True, S(Phase.QUEUED, reason_code=D.DEPENDENCY)), ("H", "n", True, S(Phase.QUEUED, reason_code=D.DEPENDENCY)),
            ("H", "us", True, S(Phase.HELD, reason_code=D.HELD_BY_ADMIN)), ("H", "u", True, S(Phase.HELD, reason_code=D.HELD_BY_USER)),
            ("H", "s", False, S(Phase.HELD, reason_code=D.HELD_BY_ADMIN)), ("H", "u", False, S(Phase.HELD, reason_code=D.HELD_BY_USER)),
            ("R", "n", True, S(Phase.RUNNING)), ("Q", "n", True, S(Phase.QUEUED)), ("W", "n", False, S(Phase.QUEUED, reason_code=D.BEGIN_TIME)),
            ("E", "n", False, S(Phase.FINISHING)), ("Y", "n", False, S(Phase.UNKNOWN)),
        ]:  # fmt: skip
            self.assertEqual(states.torque_state(letter, None, holds, depends), expected, (letter, holds, depends))

    def test_who_holds(self) -> None:
        """The operator and the system before the user, the user before a bad password."""
        for holds, code in {
            "o": "HELD_BY_ADMIN", "s": "HELD_BY_ADMIN", "uos": "HELD_BY_ADMIN", "op": "HELD_BY_ADMIN", "u": "HELD_BY_USER", "up": "HELD_BY_USER", "p": "ERROR",
            "n": "OTHER", "": "OTHER",
        }.items():  # fmt: skip
            self.assertEqual(states.held_by(holds).value, code, holds)

    def test_why_it_waits(self) -> None:
        """By the scheduler's comment."""
        for comment, code in {
            "Not Running: Queue workq job limit has been reached.": "LIMIT", "Not Running: Limit": "LIMIT", "Not Running: would exceed maximum": "LIMIT",
            "Not Running: Insufficient amount of resource: ncpus": "RESOURCES", "Can Never Run: insufficient memory": "RESOURCES",
            "Not Running: Not enough free nodes": "RESOURCES", "Not Running: not enough nodes": "RESOURCES", "Not Running: Nodes are down": "NODE_DOWN",
            "Not Running: node n1 is offline": "NODE_DOWN", "Not Running: No available resources on nodes": "NODE_DOWN", "Not Running: no available node": "NODE_DOWN",
            "Not Running: Queue not started.": "OTHER", "Can Never Run: sunspots": "OTHER", "Job run at Sun Nov 22": None, "": None,
        }.items():  # fmt: skip
            found = states.waiting_code(comment)
            self.assertEqual(found and found.value, code, comment)

    def test_durations(self) -> None:
        """Hours, minutes and seconds; fractions are cut."""
        for text, seconds in {
            "90": 90, "01:30": 90, "00:01:30": 90, "01:00:00": 3600, "336:00:00": 1209600, "1:1:1": 3661, "5.9": 5, "": None, "1:2:3:4": None, "x": None, "-5": None,
        }.items():  # fmt: skip
            self.assertEqual(states.duration(text), seconds, text)
