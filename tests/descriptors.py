"""
Whole descriptors of the jobs in the recorded answers: ``captures/descriptors.SCHEDULER.jsonl``, one job a line.

Each line was compared with the recorded answer that it names (``capture``). What a reader of an answer changes in any field of any
of these jobs is seen here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from jobpush.core.model import JobDescriptor
from jobpush.core.wire import job_fields
from tests.service_process import ROOT

CAPTURES = ROOT / "tests" / "captures"


def expected(scheduler: str) -> dict[tuple[str, str], Any]:
    """The descriptors by capture and id, as the protocol names their fields."""
    lines = (CAPTURES / f"descriptors.{scheduler}.jsonl").read_text().splitlines()
    found = {}
    for line in lines:
        fields = json.loads(line)
        found[fields.pop("capture"), fields["id"]] = fields
    return found


def differences(expected: dict[tuple[str, str], Any], found: dict[tuple[str, str], Any]) -> list[str]:
    """What of these jobs is not as expected, field by field; fields that the expected ones do not name are passed over."""
    told = [f"{key}: {'missing' if key in expected else 'not expected'}" for key in sorted(expected.keys() ^ found.keys())]
    for key in sorted(expected.keys() & found.keys()):
        for name, value in expected[key].items():
            if found[key].get(name) != value:
                told.append(f"{key} {name}: {found[key].get(name)!r} instead of {value!r}")
    return told


def shown(capture: str, jobs: Iterable[JobDescriptor]) -> dict[tuple[str, str], Any]:
    """The same of jobs that were read from an answer."""
    return {(capture, job.id): json.loads(json.dumps(job_fields(job))) for job in jobs}
