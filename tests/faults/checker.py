"""What must be so of all that clients were told, when the journal is known to its end."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator

from jobpush.polling.schedule import LONGEST_AWAITED_PAUSE_S
from tests.faults.history import History
from tests.faults.service import INTERVAL_S, Service
from tests.faults.world import Barrier, Json, State, Stretch, Window, World, moment, number

#: Seconds for which a state must stand to be told for sure: two looks, and time for a busy machine.
STANDS_S = 2 * INTERVAL_S + 2.6

#: States that jobpush concludes from absence.
CONCLUDED = {"FINISHING", "UNKNOWN", "LOST", "CANCELLED"}


def clock(at: float) -> str:
    """Return seconds since the epoch as a time of the day, UTC, as the service's log has it while its clock is right."""
    return time.strftime("%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 10)}"


class Branch:
    """The events of one branch of the journal."""

    def __init__(self, events: list[Json]) -> None:
        self.events = events
        self.seqs = [event["seq"] for event in events]
        self.of_job: dict[str, list[Json]] = {}
        for event in events:
            self.of_job.setdefault(event["job"]["id"], []).append(event)

    def between(self, begin: int, end: int) -> list[Json]:
        """Return the events after one number, up to another."""
        return self.events[bisect_right(self.seqs, begin) : bisect_right(self.seqs, end)]


class Checker:
    """
    :param events: of the journal as it is at the end.
    """

    def __init__(self, world: World, history: History, events: list[Json]) -> None:
        self.world = world
        self.history = history
        self.branches = [Branch(found) for found in (*world.lost, events)]
        self.arrays: set[str] = set()  # whose states are made of those of their tasks

    def check(self, service: Service, until: float) -> None:
        """Note every violation."""
        ever = self.history.ever()
        for place, branch in enumerate(self.branches):
            for before, after in zip(branch.seqs, branch.seqs[1:], strict=False):
                if after != before + 1:
                    self.world.violation("gap", f"in branch {place} of the journal {after} follows {before}")
            for event in branch.events:
                job = event["job"]
                begun = job["confidence"] == "inferred" and job["outcome"] is None
                if job["id"] not in self.arrays and (job["id"], job["state"]) not in ever and job["state"] not in CONCLUDED and not begun:
                    self.world.violation("invented", f"{job['id']} was told {job['state']}, which never stood in the file")
        for stretch in self.world.stretches:
            self.stretch(stretch)
        for state in self.world.states:
            self.state(state)
        for barrier in self.world.barriers:
            self.barrier(barrier)
        for unknown in self.world.unknowns:
            self.unknown(*unknown)
        self.stood(until)
        for line in service.log.splitlines():
            if "Traceback" in line or "an invariant of held requests is violated" in line or "#critical" in line:
                self.world.violation("log", line)

    def stretch(self, stretch: Stretch) -> None:
        """A client was told exactly what is its own, each once, in order."""
        events = self.branches[stretch.branch].between(number(stretch.begin), number(stretch.end))
        expected = [event["cursor"] for event in events if stretch.matches(event)]
        told = list(dict.fromkeys(stretch.told))
        where = f"{stretch.who}, from {stretch.begin} to {stretch.end}"
        missing, more = set(expected) - set(told), set(told) - set(expected)
        if missing:
            self.world.violation(
                "not told", f"{where}: {len(missing)} of {len(expected)}, the first {min(missing, key=number)}"
            )
        if more:
            self.world.violation("told wrongly", f"{where}: {sorted(more, key=number)[:3]}")
        if not missing and not more and told != expected:
            self.world.violation("order", where)

    def state(self, found: State) -> None:
        """The state of a job in an answer is that of its last event up to the cursor; and a time-out has missed none."""
        seq = number(found.cursor)
        events = [event for event in self.branches[found.branch].of_job.get(found.job, ()) if event["seq"] <= seq]
        where = f"{found.who}: job {found.job} since {found.since}, at {found.cursor}"
        if found.state is None:
            if events and events[-1]["seq"] > found.since:
                self.world.violation("not told", f"{where}: the time was up, and {events[-1]['cursor']} was there")
        elif events and events[-1]["job"]["state"] != found.state:
            self.world.violation("told wrongly", f"{where}: {found.state}, and the journal has {events[-1]['job']['state']}")

    def barrier(self, found: Barrier) -> None:
        """What a barrier says has ended was told so; and where all have ended for good, it is done."""
        branch, seq = self.branches[found.branch], number(found.cursor)
        for job in found.met:
            if not any(e["job"]["phase"] == "DONE" and e["seq"] <= seq for e in branch.of_job.get(job, ())):
                self.world.violation("told wrongly", f"{found.who}: {job} has ended at {found.cursor}, which no event says")
        if not found.done:
            last = [[e["job"] for e in branch.of_job.get(job, ()) if e["seq"] <= seq][-1:] for job in found.jobs]
            if all(jobs and jobs[0]["phase"] == "DONE" and jobs[0]["settled"] for jobs in last):
                self.world.violation("not told", f"{found.who}: at {found.cursor} all of {found.jobs} had ended")

    def unknown(self, who: str, job: str, at: float, branch: int) -> None:
        """A job is only unknown before anything was told of it."""
        events = self.branches[branch].of_job.get(job, ())
        told = [event["cursor"] for event in events if self.heard(event) < at]
        if told:
            self.world.violation("unknown", f"{who}: 404 for job {job}, and {told[0]} was told before")

    def heard(self, event: Json) -> float:
        """Return when an event was first told, by this host's clock; by its date, where nobody was told."""
        return self.world.heard.get(event["cursor"], moment(event))

    # -- the file

    def stood(self, until: float) -> None:
        """A state that stood in the file, while the service could look, was told."""
        for stood in self.history.stood(STANDS_S, until):
            for begin, end in self.free(stood.begin, stood.end):
                if end - begin < STANDS_S:
                    continue
                replaced = sum(w.wall_end is not None and w.wall_end <= begin for w in self.replacements)
                events = self.branches[replaced].of_job.get(stood.id, ())
                at = [event for event in events if self.heard(event) <= end]
                if not at or at[-1]["job"]["state"] != stood.state:
                    last = at[-1]["job"]["state"] if at else "nothing"
                    text = f"{stood.id} stood as {stood.state} for {end - begin:.1f} s from {clock(begin)} and was told {last}"
                    self.world.violation("state not told", text)

    @property
    def replacements(self) -> list[Window]:
        """When the journal was replaced."""
        return [window for window in self.world.down if window.replaces]

    def away(self) -> Iterator[tuple[float, float]]:
        """Yield the spans in which the service could not look, or could not tell."""
        for window in (*self.world.down, *self.world.stopped, *self.world.failing, *self.world.crowded):
            yield window.wall, window.wall_end or time.time()
        yield from self.pauses()

    def pauses(self) -> Iterator[tuple[float, float]]:
        """
        Yield the spans in which the service may pause after looks that failed: its pauses are twice as long each time, so the
        last one is as long as all before it, and an interval. What was mended between two looks did not end that.
        """
        spans = [(window.wall, window.wall_end or time.time()) for window in (*self.world.failing, *self.world.crowded)]
        since: float | None = None
        for version in self.history.versions:
            if version.states is None:
                since = version.before if since is None else since
            elif since is not None:
                spans.append((since, version.at))
                since = None
        begin = end = until = 0.0
        for low, high in sorted(spans):
            begin = low if low > until else begin
            end = max(end, high)
            until = end + min(LONGEST_AWAITED_PAUSE_S, end - begin + INTERVAL_S)
            yield end, until

    def free(self, begin: float, end: float) -> list[tuple[float, float]]:
        """Return the parts of a span in which the service could look."""
        parts = [(begin, end)]
        for low, high in self.away():
            cut = []
            for first, last in parts:
                if high <= first or low >= last:
                    cut.append((first, last))
                else:
                    cut += [(first, low), (high, last)]
            parts = [(first, last) for first, last in cut if last > first]
        return parts
