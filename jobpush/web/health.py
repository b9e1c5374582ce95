"""How the service and its queues are doing, for answers and for operators."""

from __future__ import annotations

import attrs

from jobpush.adapter.load import DUTY
from jobpush.polling.look import QueueStatus
from jobpush.polling.schedule import DEFAULT_INTERVAL_S
from jobpush.service import JobPush


def rounded(seconds: float | None) -> float | None:
    """Seconds with a precision that does not pretend."""
    return None if seconds is None else round(seconds, 3)


def clusters(service: JobPush, wanted: frozenset[str] = frozenset()) -> dict[str, dict[str, object]]:
    """How fresh each cluster's jobs are."""
    return {
        name: {"stale_s": rounded(monitor.stale_s), "health": monitor.status.health}
        for name, monitor in service.monitors.items()
        if not wanted or name in wanted
    }


def causes(service: JobPush) -> list[str]:
    """
    Return why the service is not ready, one word or two for each cause, with the cluster; nothing if it is ready.

    It is ready while what it serves is so, if perhaps old: that a scheduler does not answer for now is no cause.
    """
    statuses = {name: monitor.status for name, monitor in service.monitors.items()}
    hidden = [status for status in statuses.values() if not _shows_jobs(status)]
    found = {
        "starting": not service.running and not service.closing,
        "closing": service.closing,
        "journal": service.journal.problem is not None,
        "damage": service.journal.damage is not None,
        "visibility": bool(statuses) and len(hidden) == len(statuses),
    }
    words = [cause for cause, there in found.items() if there]
    words += [f"never seen: {name}" for name, status in statuses.items() if status.seen_at is None]
    words += [f"another cluster: {name}" for name, status in statuses.items() if status.other]
    return words


def _shows_jobs(status: QueueStatus) -> bool:
    """Return whether the account sees all jobs, as far as is known: before the scheduler has said, nothing is."""
    return not status.blind and (status.facts is None or status.facts.sees_all)


def readiness(service: JobPush, held: int) -> tuple[bool, dict[str, object]]:
    """
    Whether the service is ready, and why not; and what is missing in each queue, and in the journal.

    A scheduler that is down for now does not make the service unready: it serves what is known, and says how old that is.
    """
    journal = service.journal
    why_not = causes(service)
    queues: dict[str, dict[str, object]] = {}
    for name, monitor in service.monitors.items():
        status = monitor.status
        missing: list[str] = []
        if status.error is not None:
            missing.append(status.error)
        interval = monitor.queue.interval
        seldom = interval is not None and interval >= status.fresh_s
        if status.health == "stale" and status.error is None and not seldom:
            missing.append(f"no answer for {monitor.stale_s or 0.0:.0f} s; what is known is served")
        if status.accounting_error is not None:
            missing.append(f"accounting: {status.accounting_error}")
        if status.facts is not None:
            if not status.facts.sees_all and not status.facts.problems:
                missing.append(f"visibility: the account does not see all jobs ({status.facts.evidence})")
            missing.extend(status.facts.problems)
            remembers = status.facts.remembers_s
            if remembers is not None and remembers < 2 * status.interval_s:
                missing.append(
                    f"retention: finished jobs are listed for {remembers:g} s ({status.facts.remembers_by}), less than twice "
                    f"the interval of {status.interval_s:g} s"
                )
        if interval is not None and interval >= status.fresh_s:
            missing.append(
                f"interval: {interval:g} s is longer than an answer is taken to be fresh ({status.fresh_s:g} s): health is "
                f"stale in between"
            )
        if monitor.cost_share > DUTY:
            missing.append(
                f"load: queries at the interval of {interval or DEFAULT_INTERVAL_S:g} s take {monitor.cost_share:.0%} of the "
                f"time, more than the {DUTY:.0%} that they may; a longer interval= costs less"
            )
        if monitor.queue.queue_type == "mock":
            missing.append("this is the mock queue: no scheduler is watched")
        queues[name] = {
            "type": monitor.queue.queue_type,
            "health": status.health,
            "stale_s": rounded(monitor.stale_s),
            "interval_s": rounded(status.interval_s),
            "jobs": len(service.table.cluster(name)),
            "queries": status.queries + monitor.probes,
            "queries_probing": monitor.probes,
            "queries_nudged": status.nudged,
            "queries_named": status.named,
            "cost_share": rounded(monitor.cost_share),
            "cost_budget": DUTY,
            "nudges_announce_changes": monitor.announced,
            "failures": status.failures,
            "rejected_rows": status.rejected,
            "evidence": status.facts.evidence if status.facts is not None else None,
            "missing": missing,
        }
    return not why_not, {
        "status": "not ready" if why_not else "ready",
        "causes": why_not,
        "held": held,
        "journal": {
            "events": journal.last_seq - journal.trimmed_seq,
            "bytes": journal.size(),
            "missing": [text for text in (journal.problem, journal.damage) if text is not None],
        },
        "queues": queues,
        "nudges": {source: attrs.asdict(counts) for source, counts in service.nudges.counts.items()},
    }
