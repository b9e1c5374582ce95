"""
The meaning of Slurm's states, reasons and wait statuses. Pure.

From ``squeue(1)`` (JOB STATE CODES, JOB REASON CODES) and from measuring Slurm 22.05.
"""

from __future__ import annotations

from collections.abc import Mapping

from jobpush.core.frozen import evolve
from jobpush.core.model import HELD, JobDescriptor, Outcome, Phase, ReasonCode

_Q, _H, _R, _F = Phase.QUEUED, Phase.HELD, Phase.RUNNING, Phase.FINISHING

#: Slurm's states, as ``squeue -O State`` and ``sacct -o State`` spell them, and their compact forms.
STATES: Mapping[str, tuple[Phase, Outcome | None]] = {
    "PENDING": (_Q, None), "PD": (_Q, None),
    "RESV_DEL_HOLD": (_H, None), "RD": (_H, None),
    "REQUEUE_HOLD": (_H, None), "RH": (_H, None),
    "SPECIAL_EXIT": (_H, None), "SE": (_H, None),
    "REQUEUED": (_Q, None), "RQ": (_Q, None),
    "REQUEUE_FED": (_Q, None), "RF": (_Q, None),
    "CONFIGURING": (Phase.STARTING, None), "CF": (Phase.STARTING, None),
    "POWER_UP_NODE": (Phase.STARTING, None),
    "RUNNING": (_R, None), "R": (_R, None),
    "RESIZING": (_R, None), "RS": (_R, None),
    "SIGNALING": (_R, None), "SI": (_R, None),
    "EXPEDITING": (_F, None),
    "SUSPENDED": (Phase.SUSPENDED, None), "S": (Phase.SUSPENDED, None),
    "STOPPED": (Phase.SUSPENDED, None), "ST": (Phase.SUSPENDED, None),
    "COMPLETING": (_F, None), "CG": (_F, None),
    "STAGE_OUT": (_F, None), "SO": (_F, None),
    "UPDATE_DB": (_F, None),
    "COMPLETED": (Phase.DONE, Outcome.COMPLETED), "CD": (Phase.DONE, Outcome.COMPLETED),
    "FAILED": (Phase.DONE, Outcome.FAILED), "F": (Phase.DONE, Outcome.FAILED),
    "CANCELLED": (Phase.DONE, Outcome.CANCELLED), "CA": (Phase.DONE, Outcome.CANCELLED),
    "TIMEOUT": (Phase.DONE, Outcome.TIMEOUT), "TO": (Phase.DONE, Outcome.TIMEOUT),
    "OUT_OF_MEMORY": (Phase.DONE, Outcome.OUT_OF_MEMORY), "OOM": (Phase.DONE, Outcome.OUT_OF_MEMORY),
    "NODE_FAIL": (Phase.DONE, Outcome.NODE_FAIL), "NF": (Phase.DONE, Outcome.NODE_FAIL),
    "BOOT_FAIL": (Phase.DONE, Outcome.LAUNCH_FAIL), "BF": (Phase.DONE, Outcome.LAUNCH_FAIL),
    "DEADLINE": (Phase.DONE, Outcome.DEADLINE), "DL": (Phase.DONE, Outcome.DEADLINE),
    "LAUNCH_FAILED": (Phase.DONE, Outcome.LAUNCH_FAIL),
    "RECONFIG_FAIL": (Phase.DONE, Outcome.LAUNCH_FAIL),
    "PREEMPTED": (Phase.DONE, Outcome.PREEMPTED), "PR": (Phase.DONE, Outcome.PREEMPTED),
    "REVOKED": (Phase.DONE, Outcome.MOVED), "RV": (Phase.DONE, Outcome.MOVED),
}  # fmt: skip

#: States that qualify another one: they become a flag of the job.
FLAGS = {
    "RESIZING": "resizing", "RS": "resizing", "SIGNALING": "signaling", "SI": "signaling", "EXPEDITING": "expediting",
    "STAGE_OUT": "stage_out", "SO": "stage_out", "STOPPED": "stopped", "ST": "stopped", "REQUEUED": "requeued",
    "RQ": "requeued", "SPECIAL_EXIT": "special_exit", "SE": "special_exit",
}  # fmt: skip

#: Exact reasons (``squeue(1)``, JOB REASON CODES). Limits and unavailable nodes have too many names: see `reason_code`.
REASONS = {
    "JobHeldUser": ReasonCode.HELD_BY_USER,
    "JobHeldAdmin": ReasonCode.HELD_BY_ADMIN,
    "JobHoldMaxRequeue": ReasonCode.HELD_BY_ADMIN,
    "Dependency": ReasonCode.DEPENDENCY,
    "DependencyNeverSatisfied": ReasonCode.DEPENDENCY,
    "BeginTime": ReasonCode.BEGIN_TIME,
    "Resources": ReasonCode.RESOURCES,
    "Licenses": ReasonCode.RESOURCES,
    "Priority": ReasonCode.PRIORITY,
    "PartitionDown": ReasonCode.NODE_DOWN,
    "PartitionInactive": ReasonCode.NODE_DOWN,
    "NodeDown": ReasonCode.NODE_DOWN,
    "FrontEndDown": ReasonCode.NODE_DOWN,
    "BurstBufferStageIn": ReasonCode.STAGE_IN,
    "BurstBufferResources": ReasonCode.STAGE_IN,
    "JobLaunchFailure": ReasonCode.ERROR,
    "job_requeued_in_special_exit_state": ReasonCode.HELD_BY_USER,
}

#: Who holds a job that is held.
_HOLDERS = (ReasonCode.HELD_BY_USER, ReasonCode.HELD_BY_ADMIN)


def _was_put_back_held(reason: str) -> bool:
    """Return whether a reason is one of Slurm's texts for it: "launch failed requeued held", "job requeued in held state"."""
    return "requeued" in reason and "held" in reason


def with_state(
    job: JobDescriptor, state: str, status: int, reason: str, started_at: float | None, ended_at: float | None
) -> JobDescriptor:
    """
    Return a job in the state that Slurm names, with what follows from its wait status, its reason and its times.

    A state that is not known leaves the phase UNKNOWN; ``native`` keeps its name.
    """
    phase, outcome = STATES.get(state, (Phase.UNKNOWN, None))
    first = reason.partition(",")[0].replace(" ", "_")  # a description takes a reason's place, with its blanks or without
    held = REASONS.get(first) in _HOLDERS or _was_put_back_held(reason)
    if phase is Phase.QUEUED and held:
        phase = Phase.HELD
    if state == "EXPEDITING" and ended_at is None and not job.nodes:
        phase = Phase.QUEUED  # it was put back into the queue, and comes before others
    exit_code = signal = None
    if outcome is not None:
        if status & 0x7F:
            signal = status & 0x7F
        elif status or outcome in (Outcome.COMPLETED, Outcome.FAILED):
            exit_code = (status >> 8) & 0xFF
        if outcome is Outcome.FAILED and signal == 53 and started_at == ended_at:
            outcome, signal = Outcome.LAUNCH_FAIL, None  # slurmd's own word for "could not be started", no signal
        elif outcome is Outcome.OUT_OF_MEMORY and signal == 125:
            signal = None
    waiting = phase in (Phase.QUEUED, Phase.HELD)
    if outcome is Outcome.MOVED or (outcome is not None and not job.nodes and started_at == ended_at):
        # It ended while it waited: Slurm gives its end as its start. One that another cluster of the federation took has the
        # start that was estimated, and that cluster's exit code.
        started_at = exit_code = signal = None
    flags = [FLAGS[state]] if state in FLAGS else []
    if outcome is not None and started_at is None and held:
        flags.append(HELD)
    # "ReqNodeNotAvail, May be reserved for other job": the node is up.
    code = ReasonCode.RESOURCES if "reserved" in reason else reason_code(reason if _was_put_back_held(reason) else first)
    if outcome is not None and code not in (ReasonCode.DEPENDENCY, ReasonCode.NODE_DOWN):
        # Why it had waited says nothing about its end, and Slurm gives JobLaunchFailure for any death by SIGKILL.
        code = ReasonCode.ERROR if outcome is Outcome.LAUNCH_FAIL else None
    return evolve(
        job,
        phase=phase,
        outcome=outcome,
        # A preempted job may be requeued yet.
        settled=outcome is not None and outcome is not Outcome.PREEMPTED,
        exit_code=exit_code,
        signal=signal,
        reason=None if reason in ("None", "") else reason,
        reason_code=code if waiting or outcome is not None else None,
        flags=tuple(flags),
        # Before the start Slurm gives an estimate, and before the end what the time limit says.
        started_at=started_at if not waiting else None,
        ended_at=ended_at if phase in (Phase.DONE, Phase.FINISHING) else None,
    )


def reason_code(reason: str) -> ReasonCode | None:
    """Return Slurm's reason in jobpush's vocabulary; None if there is none."""
    if reason in ("None", ""):
        return None
    if reason in REASONS:
        return REASONS[reason]
    if _was_put_back_held(reason):
        return ReasonCode.ERROR if "fail" in reason else ReasonCode.HELD_BY_USER
    if "Limit" in reason or reason.startswith(("QOS", "Assoc", "MaxJobs", "Qos")):
        return ReasonCode.LIMIT
    if reason.startswith(("ReqNodeNotAvail", "Nodes_required", "Node")):
        return ReasonCode.NODE_DOWN
    return ReasonCode.OTHER
