"""
The differences between what a job did and what jobpush tells that are permitted, each with its reason.

The list stands before a run. No entry can make a failure, or a job that never ran, a success: `benchmarks.endings.verdict`
does not look here when COMPLETED was told of such a job.
"""

from __future__ import annotations

import attrs

ALL = ("slurm", "sge", "pbs")


@attrs.frozen
class Permitted:
    """
    :ivar kinds: of jobs; all if empty.
    :ivar what: which of the fields of `benchmarks.endings.verdict.Difference`.
    :ivar told: the values that may be told.
    """

    schedulers: tuple[str, ...]
    kinds: tuple[str, ...]
    what: str
    told: tuple[object, ...]
    why: str


PERMITTED = (
    Permitted(
        ("slurm",), (), "exit_code", (None,),
        "sacct before 25.11 prints exit codes modulo 128; of a job whose end squeue did not show the code is unknown",
    ),
    Permitted(
        ("slurm",), ("bad output path",), "ran", (True,),
        "squeue says R, with a start time, while the node finds that it cannot open the output",
    ),
    Permitted(
        ("slurm",), ("bad output path",), "state", ("FAILED",),
        "0:53 is a real signal 53 too; it is LAUNCH_FAIL only where start and end are the same second",
    ),
    Permitted(("slurm",), ("bad output path",), "signal", (53,), "as above"),
    Permitted(
        ("sge",), ("bad output path", "bad work directory"), "ran", (True,),
        "qstat says r, and accounting has a start time, before the execution daemon says what is wrong",
    ),
    Permitted(
        ("sge",), ("bad output path", "bad work directory"), "state", ("LAUNCH_FAIL",),
        "failed 26 to 36 once gone, where the deletion is not seen",
    ),
    Permitted(
        ("slurm",), ("array, all succeed", "array, a waiting task is deleted"), "state", ("LOST",),
        "of an array that was submitted while jobpush was down, and of which ended tasks are forgotten, success cannot be "
        "proved: a task that is cancelled while it waits is in no record",
    ),
    Permitted(
        ("sge",), ("exit 100",), "attempt", (1,),
        "when it was deleted it was back in the queue, in the error state, for its second attempt",
    ),
    Permitted(
        ALL, (), "previous", (None,),
        "an attempt that ended, and was followed, between two looks is told as far as it is known",
    ),
    Permitted(
        ALL, (), "revised", ("LOST", "CANCELLED"),
        "an end that was concluded from absence is a guess; a record that comes later replaces it by a new event",
    ),
)  # fmt: skip
