"""Slurm's states, reasons and wait statuses."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import JobDescriptor, Outcome, Phase, ReasonCode
from jobpush_adapters.slurm import squeue
from tests.adapters.slurm.rows import parse, row
from tests.support import NOW


class StateTests(SynchronousTestCase):
    """The states of Slurm, one by one."""

    def test_every_state(self) -> None:
        """Each of Slurm's states, long and short, has its phase, outcome and flag."""
        for names, expected, flags in [
            ("PENDING PD", "QUEUED", ()), ("RESV_DEL_HOLD RD", "HELD", ()), ("REQUEUE_HOLD RH", "HELD", ()),
            ("SPECIAL_EXIT SE", "HELD", ("special_exit",)), ("REQUEUED RQ", "QUEUED", ("requeued",)), ("REQUEUE_FED RF", "QUEUED", ()),
            ("CONFIGURING CF", "STARTING", ()), ("POWER_UP_NODE", "STARTING", ()), ("RUNNING R", "RUNNING", ()),
            ("RESIZING RS", "RUNNING", ("resizing",)), ("SIGNALING SI", "RUNNING", ("signaling",)),
            ("EXPEDITING", "FINISHING", ("expediting",)), ("SUSPENDED S", "SUSPENDED", ()), ("STOPPED ST", "SUSPENDED", ("stopped",)),
            ("COMPLETING CG", "FINISHING", ()), ("STAGE_OUT SO", "FINISHING", ("stage_out",)), ("UPDATE_DB", "FINISHING", ()),
            ("COMPLETED CD", "COMPLETED", ()), ("FAILED F", "FAILED", ()), ("CANCELLED CA", "CANCELLED", ()), ("TIMEOUT TO", "TIMEOUT", ()),
            ("OUT_OF_MEMORY OOM", "OUT_OF_MEMORY", ()), ("NODE_FAIL NF", "NODE_FAIL", ()), ("BOOT_FAIL BF", "LAUNCH_FAIL", ()),
            ("DEADLINE DL", "DEADLINE", ()), ("LAUNCH_FAILED", "LAUNCH_FAIL", ()), ("RECONFIG_FAIL", "LAUNCH_FAIL", ()),
            ("PREEMPTED PR", "PREEMPTED", ()), ("REVOKED RV", "MOVED", ()),
        ]:  # fmt: skip
            for name in names.split():
                job = parse(state=name)
                self.assertEqual((job.state, job.flags, job.native["state"]), (expected, flags, name))
                self.assertEqual(job.settled, job.done and expected != "PREEMPTED")

    def test_unknown_state(self) -> None:
        """It is kept as it is, and means nothing."""
        job = parse(state="TELEPORTING")
        self.assertEqual((job.phase, job.outcome, job.native["state"]), (Phase.UNKNOWN, None, "TELEPORTING"))

    def test_reasons(self) -> None:
        """Held by a person is HELD; waiting for something is QUEUED with a code."""
        for reason, state, code in [
            ("JobHeldUser", "HELD", "HELD_BY_USER"), ("JobHeldAdmin", "HELD", "HELD_BY_ADMIN"), ("Dependency", "QUEUED", "DEPENDENCY"),
            ("DependencyNeverSatisfied", "QUEUED", "DEPENDENCY"), ("BeginTime", "QUEUED", "BEGIN_TIME"), ("Resources", "QUEUED", "RESOURCES"),
            ("Priority", "QUEUED", "PRIORITY"), ("JobArrayTaskLimit", "QUEUED", "LIMIT"), ("QOSMaxJobsPerUserLimit", "QUEUED", "LIMIT"),
            ("AssocGrpCpuLimit", "QUEUED", "LIMIT"), ("PartitionTimeLimit", "QUEUED", "LIMIT"),
            ("ReqNodeNotAvail, UnavailableNodes:n1", "QUEUED", "NODE_DOWN"), ("PartitionDown", "QUEUED", "NODE_DOWN"),
            ("BurstBufferStageIn", "QUEUED", "STAGE_IN"), ("launch_failed_requeued_held", "HELD", "ERROR"),
            ("launch failed requeued held", "HELD", "ERROR"), ("job requeued in held state", "HELD", "HELD_BY_USER"), ("Sunspots", "QUEUED", "OTHER"),
            ("burst buffer failed, job requeued held", "HELD", "ERROR"), ("node_fail_requeued_held", "HELD", "ERROR"),
            ("JobArrayTaskLimit,JobHeldAdmin", "QUEUED", "LIMIT"), ("None", "QUEUED", None),
        ]:  # fmt: skip
            job = parse(state="PENDING", Reason=reason)
            self.assertEqual((job.state, job.reason_code and job.reason_code.value), (state, code), reason)
            self.assertEqual(job.reason, None if reason == "None" else reason)

    def test_wait_status(self) -> None:
        """The low seven bits are a signal; else the next byte is the exit code; two codes are Slurm's own."""
        for state, status, expected in [
            ("COMPLETED", "0", ("COMPLETED", 0, None)), ("FAILED", "768", ("FAILED", 3, None)), ("FAILED", "9", ("FAILED", None, 9)),
            ("FAILED", "11", ("FAILED", None, 11)), ("FAILED", "53", ("FAILED", None, 53)), ("FAILED", "35584", ("FAILED", 139, None)),
            ("OUT_OF_MEMORY", "125", ("OUT_OF_MEMORY", None, None)), ("CANCELLED", "15", ("CANCELLED", None, 15)),
            ("CANCELLED", "0", ("CANCELLED", None, None)), ("TIMEOUT", "0", ("TIMEOUT", None, None)), ("RUNNING", "9", ("RUNNING", None, None)),
            ("COMPLETING", "1024", ("FINISHING", None, None)),
        ]:  # fmt: skip
            job = parse(state=state, exit_code=status)
            self.assertEqual((job.state, job.exit_code, job.signal), expected, (state, status))
        never = parse(state="FAILED", exit_code="53", StartTime="1795330676", EndTime="1795330676", Reason="JobLaunchFailure")
        self.assertEqual((never.state, never.signal, never.reason_code), ("LAUNCH_FAIL", None, ReasonCode.ERROR), "slurmd's own word")

    def test_a_reservation(self) -> None:
        """A node that is reserved is not down."""
        job = parse(state="PENDING", Reason="ReqNodeNotAvail, May be reserved for other job")
        self.assertEqual(job.reason_code, ReasonCode.RESOURCES)
        self.assertEqual(parse(state="PENDING", Reason="ReqNodeNotAvail, UnavailableNodes:n1").reason_code, ReasonCode.NODE_DOWN)

    def test_signals_of_slurms_own(self) -> None:
        """Two of them, each with one state alone; a signal is told of any end that has one, and an exit code if there is any."""
        for state, status, expected in [
            ("OUT_OF_MEMORY", "9", ("OUT_OF_MEMORY", None, 9)), ("OUT_OF_MEMORY", "256", ("OUT_OF_MEMORY", 1, None)), ("FAILED", "125", ("FAILED", None, 125)),
            ("TIMEOUT", "125", ("TIMEOUT", None, 125)), ("CANCELLED", "53", ("CANCELLED", None, 53)), ("OUT_OF_MEMORY", "53", ("OUT_OF_MEMORY", None, 53)),
            ("TIMEOUT", "256", ("TIMEOUT", 1, None)), ("NODE_FAIL", "0", ("NODE_FAIL", None, None)), ("FAILED", "0", ("FAILED", 0, None)),
            ("FAILED", "127", ("FAILED", None, 127)), ("FAILED", "128", ("FAILED", 0, None)), ("FAILED", "65280", ("FAILED", 255, None)),
            ("FAILED", "777", ("FAILED", None, 9)), ("COMPLETED", "65536", ("COMPLETED", 0, None)),
        ]:  # fmt: skip
            job = parse(state=state, exit_code=status)
            self.assertEqual((job.state, job.exit_code, job.signal), expected, (state, status))

    def test_why_it_ended(self) -> None:
        """Why it had waited says nothing of its end, but for a dependency and a node; one that could not be started is an error."""
        for state, status, reason, code in [
            ("FAILED", "256", "NonZeroExitCode", None), ("CANCELLED", "0", "Dependency", "DEPENDENCY"), ("NODE_FAIL", "0", "NodeDown", "NODE_DOWN"),
            ("CANCELLED", "0", "Priority", None), ("FAILED", "9", "JobLaunchFailure", None), ("FAILED", "53", "JobLaunchFailure", None),
            ("BOOT_FAIL", "0", "None", "ERROR"), ("RUNNING", "0", "Priority", None), ("COMPLETING", "0", "Dependency", None),
        ]:  # fmt: skip
            job = parse(state=state, exit_code=status, Reason=reason)
            self.assertEqual(job.reason_code and job.reason_code.value, code, (state, reason))
            self.assertEqual(job.reason, None if reason == "None" else reason)
        self.assertIsNone(parse(state="RUNNING", Reason="").reason)

    def test_every_reason(self) -> None:
        """Slurm's words for why a job waits, by their kind; who holds a job has it held."""
        for code, reasons in {
            "HELD_BY_USER": "JobHeldUser job_requeued_in_held_state job_requeued_in_special_exit_state", "HELD_BY_ADMIN": "JobHeldAdmin JobHoldMaxRequeue",
            "DEPENDENCY": "Dependency DependencyNeverSatisfied", "BEGIN_TIME": "BeginTime", "RESOURCES": "Resources Licenses", "PRIORITY": "Priority",
            "NODE_DOWN": "PartitionDown PartitionInactive NodeDown FrontEndDown ReqNodeNotAvail Nodes_required_for_job_are_DOWN NodeX",
            "STAGE_IN": "BurstBufferStageIn BurstBufferResources", "ERROR": "JobLaunchFailure launch_failed_requeued_held",
            "LIMIT": "AssocMaxJobs QOSMaxCpu QosGrp MaxJobsPerAccount PartitionTimeLimit xLimity", "OTHER": "Sunspots Cleaning",
        }.items():  # fmt: skip
            for reason in reasons.split():
                job = parse(state="PENDING", Reason=reason)
                held = code.startswith("HELD") or reason == "launch_failed_requeued_held"
                self.assertEqual((job.reason_code and job.reason_code.value, job.state), (code, "HELD" if held else "QUEUED"), reason)

    def test_whole(self) -> None:
        """Each field of a row goes where it belongs."""
        job = parse(
            "33_4", JobID="35", state="FAILED", exit_code="768", Reason="NonZeroExitCode", Partition="long", NodeList="n[1-2]", SubmitTime="1795327001",
            StartTime="1795327102", EndTime="1795327203", TimeLimit="1:00", RestartCnt="3", UserName="lee", Account="cfd", WorkDir="/w", Comment="c d", Name="a b",
        )  # fmt: skip
        expected = JobDescriptor(
            cluster="slurm", id="33_4", phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, attempt=3, exit_code=3, reason="NonZeroExitCode",
            native={"state": "FAILED", "exit_status": "768", "reason": "NonZeroExitCode"}, aliases=("35",), name="a b", user="lee", account="cfd",
            submitted_at=1795327001.0, started_at=1795327102.0, ended_at=1795327203.0, queue="long", nodes="n[1-2]", workdir="/w", comment="c d",
            time_limit_s=60, source="squeue", parent="33", task_index=4,
        )  # fmt: skip
        self.assertTrue(job.says_the_same(expected), job)
        self.assertEqual(job.observed_at, NOW)

    def test_nothing_said(self) -> None:
        """What Slurm prints where there is nothing is nothing."""
        for nothing in ("", "(null)", "N/A"):
            job = parse(state="PENDING", NodeList=nothing, Account=nothing, WorkDir=nothing, Comment=nothing, UserName="", Partition="", SubmitTime=nothing)
            self.assertEqual((job.nodes, job.account, job.workdir, job.comment, job.user, job.queue, job.submitted_at), (None,) * 7)

    def test_a_start_that_is_an_end(self) -> None:
        """Of what has ended without nodes the start is its end; with nodes, or another time, it is a start."""
        for fields, started_at in [
            ({"NodeList": "", "StartTime": "1795327200"}, None), ({"NodeList": "n1", "StartTime": "1795327200"}, 1795327200.0),
            ({"NodeList": "", "StartTime": "1795327100"}, 1795327100.0),
        ]:  # fmt: skip
            self.assertEqual(parse(state="CANCELLED", **fields).started_at, started_at, fields)
        self.assertEqual(parse(state="RUNNING", NodeList="", StartTime="1795327200").started_at, 1795327200.0)

    def test_what_never_ran_here(self) -> None:
        """
        A job that another cluster of the federation took has an estimated start and that cluster's exit code; one that reached its
        deadline, or was cancelled, while it waited has neither.
        """
        for state, fields, told in [
            ("REVOKED", {"exit_code": "768", "NodeList": "n1"}, ("MOVED", None, None, None, ())),
            ("DEADLINE", {"exit_code": "15", "NodeList": "", "StartTime": "1795327200"}, ("DEADLINE", None, None, None, ())),
            ("DEADLINE", {"exit_code": "15"}, ("DEADLINE", None, 15, 1795327100.0, ())),
            ("CANCELLED", {"Reason": "JobHeldUser", "NodeList": "", "StartTime": "1795327200"}, ("CANCELLED", None, None, None, ("held",))),
            ("CANCELLED", {"Reason": "JobHeldUser"}, ("CANCELLED", None, None, 1795327100.0, ())),
        ]:
            job = parse(state=state, **fields)
            self.assertEqual((job.state, job.exit_code, job.signal, job.started_at, job.flags), told, (state, fields))

    def test_put_back_before_others(self) -> None:
        """It waits, if it has neither an end nor nodes; else what is ending is the attempt before."""
        self.assertEqual(parse(state="EXPEDITING", NodeList="", EndTime="N/A").state, "QUEUED")
        for fields in ({"NodeList": "n1", "EndTime": "N/A"}, {"NodeList": ""}):
            self.assertEqual((parse(state="EXPEDITING", **fields).state, parse(state="EXPEDITING", **fields).settled), ("FINISHING", False))

    def test_times(self) -> None:
        """Estimates are no times: a start before the job has begun, an end before it has ended."""
        pending, running, ended = parse(state="PENDING"), parse(state="RUNNING"), parse(state="FAILED")
        self.assertEqual((pending.started_at, pending.ended_at), (None, None))
        self.assertEqual((running.started_at, running.ended_at), (1795327100.0, None))
        self.assertEqual((ended.started_at, ended.ended_at, ended.submitted_at), (1795327100.0, 1795327200.0, 1795327000.0))
        for state in ("SUSPENDED", "CONFIGURING"):
            self.assertEqual((parse(state=state).started_at, parse(state=state).ended_at), (1795327100.0, None))
        self.assertEqual(parse(state="COMPLETING").ended_at, 1795327200.0)
        self.assertIsNone(parse(state="REQUEUE_HOLD").started_at)
        never = parse(state="CANCELLED", NodeList="", StartTime="1795327200")
        self.assertEqual((never.started_at, never.ended_at), (None, 1795327200.0))

    def test_put_back_into_the_queue(self) -> None:
        """
        Of a job that is requeued, its restart is counted before it has left its nodes, and its start is already the next one's:
        what completes there is the attempt before.
        """
        for end in ("NONE", "N/A"):
            job = parse(state="COMPLETING", RestartCnt="1", StartTime="1795327300", EndTime=end)
            self.assertEqual((job.state, job.attempt, job.started_at, job.ended_at), ("FINISHING", 0, None, None))
        job = parse(state="COMPLETING", RestartCnt="1")
        self.assertEqual((job.attempt, job.started_at, job.ended_at), (1, 1795327100.0, 1795327200.0))
        self.assertEqual(parse(state="PENDING", RestartCnt="1", EndTime="NONE").attempt, 1)

    def test_time_limits(self) -> None:
        """Days, hours, minutes, seconds."""
        for text, seconds in {"5:00": 300, "1:00:00": 3600, "1-00:00:01": 86401, "": None, "5": None, "x:5": None, "2-03:04:05": 183845, "UNLIMITED": None, "NOT_SET": None, "0:30": 30}.items():
            self.assertEqual(squeue.parse_time_limit(text), seconds)

    def test_ids(self) -> None:
        """Tasks, ranges and components know what they are part of."""
        task = parse("33_1", JobID="35")
        self.assertEqual((task.id, task.parent, task.task_index, task.aliases), ("33_1", "33", 1, ("35",)))
        rest = parse("33_[2-3,6-9%2]", state="PENDING", JobID="33")
        self.assertEqual((rest.id, str(rest.pending_tasks), rest.aliases, rest.parent), ("33", "2-3,6-9", (), None))
        part = parse("46+1", JobID="47")
        self.assertEqual((part.id, part.parent, part.aliases), ("46+1", "46", ("47",)))
        self.assertEqual(parse("67108865", JobID="67108865").id, "67108865")

    def test_rows_that_make_no_sense(self) -> None:
        """Each is refused with a ValueError that says why."""
        for bad in (
            b"", b"1", row("1") + b"\0more", row("0", JobID="0"), row("1;2"), row("1_[2-3,4..."), row("1", exit_code="-"),
            row("1", RestartCnt=""), row("abc", JobID="abc"), row("2", JobID="1"),
        ):  # fmt: skip
            self.assertRaises(ValueError, squeue.parse_row, "slurm", bad, NOW)

    def test_odd_texts(self) -> None:
        """Names and comments come as they are; bytes that are not UTF-8 are replaced."""
        for name in ("a|b|c", "line1\nline2", "naïve-Ω-日本-🚀", "100%j %i", "x JobState=FAILED", "a\tb", "L" * 5000, "(null)"):
            self.assertEqual(parse(Name=name, Comment=name).name, name)
        bad = squeue.parse_row("slurm", row(Name="bad??utf8").replace(b"??", b"\xff\xfe"), NOW)
        self.assertEqual(bad.name, "bad\ufffd\ufffdutf8")
