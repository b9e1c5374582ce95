"""How the service and its queues are doing, for answers and for operators."""

from __future__ import annotations

import attrs

from jobpush import __version__
from jobpush.adapter.load import DUTY
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


def readiness(service: JobPush, held: int) -> tuple[bool, dict[str, object]]:
    """
    Whether every queue has answered and shows its jobs, and what is missing in each; and whether events can be committed.

    A scheduler that is down for now does not make the service unready: it serves what is known, and says how old that is.
    """
    journal = service.journal
    ready = not service.closing and journal.problem is None
    queues: dict[str, dict[str, object]] = {}
    for name, monitor in service.monitors.items():
        status = monitor.status
        missing: list[str] = []
        if status.error is not None:
            missing.append(status.error)
        if status.accounting_error is not None:
            missing.append(f"accounting: {status.accounting_error}")
        if status.facts is not None:
            missing.extend(status.facts.problems)
            remembers = status.facts.remembers_s
            if remembers is not None and remembers < 2 * status.interval_s:
                missing.append(
                    f"retention: finished jobs are listed for {remembers:g} s ({status.facts.remembers_by}), less than twice "
                    f"the interval of {status.interval_s:g} s"
                )
        interval = monitor.queue.interval
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
        sees_all = status.facts is None or status.facts.sees_all
        ready = ready and status.seen_at is not None and status.health != "blind" and sees_all
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
    return ready, {
        "status": "ready" if ready else "not ready",
        "version": __version__,
        "held": held,
        "journal": {
            "events": journal.last_seq - journal.trimmed_seq,
            "bytes": journal.size(),
            "missing": [] if journal.problem is None else [journal.problem],
        },
        "queues": queues,
        "nudges": {source: attrs.asdict(counts) for source, counts in service.nudges.counts.items()},
    }
