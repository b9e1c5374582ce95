"""
Mixed clients without any fault, for many minutes: ``python -m benchmarks.soak --minutes 20``.

500 clients ask again and again, each in its own way: polls of 1 to 5 s, long polls of a minute, ``/jobstatus``, the change
feed, barriers, workflows, streams of server-sent events, WebSockets. Most keep their connections, some take a fresh one for
each request; now and then one leaves in the middle of a request, or sends half of one, or one that is refused; and once a
minute all ask without a pause, so that the limit on held requests is reached. jobpush runs in its default configuration (with
that limit, and with ``--debug-invariants``; without either with ``--default``) on a file of jobs, of which some change each
second.

It is checked that every request is answered in its time: by the end of its ``wait``, or as soon as what it waits for has
happened, ``--grace`` seconds later at most; not before its time and not with an error; that 503 comes only at the limit; and
that a stream brings each change. At the end nothing may be held when all have been answered; then all clients hold a request
each, and ``/readyz`` must count as many; when nobody is connected there must be no more descriptors and delayed calls than
before the first client, and SIGTERM must end the service within a second; and its log may not tell of a violated invariant.
What was not so is counted by kind of request, and the exit status is 1. Loopback only; bounded in count and time.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from benchmarks.load import CORES, ROOT
from benchmarks.servers import JobpushServer, leave_the_servers_core
from benchmarks.soak.clients import LONG_S, Clients, job_poll
from benchmarks.soak.http import Answer
from benchmarks.soak.inside import Inside, ask
from benchmarks.soak.jobs import CHANGING, STEADY, Jobs
from benchmarks.soak.ledger import GIVE_UP_S, Ledger, Tally
from benchmarks.tables import header, machine_line, row

#: Seconds between two changes of jobs, on average.
CHANGE_EVERY_S = 0.5

#: Seconds in which SIGTERM must end a service to which nobody is connected.
STOP_S = 1.0


#: By how many descriptors and delayed calls the service may differ when nobody is connected: of a look that is under way.
MORE = 3

#: Seconds after the last client in which what it left must be gone: a descriptor of a connection that lingers, garbage.
SETTLES_S = 10.0


class SoakedServer(JobpushServer):
    """jobpush that tells what is in its process."""

    def command(self) -> list[str]:
        executable, *_, first, second = (given := super().command())[:5]
        return [executable, "-m", "benchmarks.soak.inside", str(self.ear), first, second, *given[5:]]

    @property
    def ear(self) -> Path:
        """The socket where it tells."""
        return self.directory / "inside"

    def inside(self) -> Inside:
        """What there is in its process."""
        return ask(self.ear)


@attrs.frozen
class End:
    """
    What was found at the end.

    :ivar held_after: how many requests were held when all had been answered.
    :ivar holding: how many the clients then held.
    :ivar held: how many that were by the service's count.
    :ivar held_alone: how many were held when nobody was connected any more.
    :ivar stop_s: seconds from SIGTERM to the end of the process.
    :ivar before: what there was in the process before the first client.
    :ivar after: what there was when nobody was connected any more.
    """

    held_after: int
    holding: int
    held: int
    held_alone: int
    stop_s: float
    before: Inside
    after: Inside

    @property
    def faults(self) -> list[str]:
        """What is not as it must be."""
        found = []
        if self.held_after:
            found.append(f"when all had been answered, {self.held_after} were held")
        if self.held != self.holding:
            found.append(f"the clients held {self.holding} requests, /readyz said {self.held}")
        if self.held_alone:
            found.append(f"with nobody connected, {self.held_alone} were held")
        if self.stop_s > STOP_S:
            found.append(f"SIGTERM with nobody connected took {self.stop_s:.1f} s")
        for name in ("delayed", "selectables", "descriptors"):
            now, before = getattr(self.after, name), getattr(self.before, name)
            if now > before + MORE:
                found.append(f"with nobody connected there were {now} {name}, and {before} before the first client")
        if self.after.deadlines:
            found.append(f"with nobody connected there were {self.after.deadlines} deadlines")
        return found


async def play(server: SoakedServer, ledger: Ledger, count: int, minutes: float, within: float) -> End:
    """
    Let so many clients ask for so long, and print a line each minute.

    :param within: seconds in which all must be answered when the jobs of all have changed.
    """
    jobs = Jobs(server)
    jobs.write()
    await asyncio.sleep(2)
    before = await asyncio.to_thread(server.inside)
    clients = Clients(server.port, jobs, ledger)
    running = [asyncio.ensure_future(clients.run_one()) for _ in range(count)]
    looking = asyncio.ensure_future(every(0.25, ledger.look))
    changing = asyncio.ensure_future(every(CHANGE_EVERY_S, lambda: happen(jobs, ledger, jobs.change())))
    print("\n".join(header(COLUMNS)))
    say("before", server, ledger, before)
    await say_each_minute(server, ledger, minutes)
    changing.cancel()
    clients.over = True
    happen(jobs, ledger, jobs.end_all())
    await asyncio.wait(running, timeout=within)
    for client in running:
        client.cancel()
    for failure in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(failure, Exception):
            raise failure
    ended = await end(server, clients, count, before)
    looking.cancel()
    return ended


async def every(seconds: float, action: Callable[[], None]) -> None:
    """Call this again and again, until it is cancelled; the pauses are of different lengths."""
    while True:
        await asyncio.sleep(random.uniform(0.5, 1.5) * seconds)
        action()


def happen(jobs: Jobs, ledger: Ledger, changed: frozenset[str]) -> None:
    """Let the ledger know what has changed."""
    ledger.happened({job: jobs.states[job] for job in changed})


#: What is printed each minute.
COLUMNS = [
    "minute", "unanswered", "held", "answered", "not as they must be", "MB", "descriptors", "delayed calls", "deadlines",
    "objects", "events in memory", "their MB", "CPU",
]  # fmt: skip


def say(minute: str, server: SoakedServer, ledger: Ledger, inside: Inside, cpu: str = "") -> None:
    """Print how things stand."""
    cells = [
        minute, len(ledger.unanswered), inside.held, ledger.answered, ledger.faults, f"{server.rss_kb() / 1024:.0f}",
        inside.descriptors, inside.delayed, inside.deadlines, inside.objects, inside.events,
        f"{inside.event_bytes / 2**20:.1f}", cpu,
    ]  # fmt: skip
    print(row(cells), flush=True)


async def say_each_minute(server: SoakedServer, ledger: Ledger, minutes: float) -> None:
    """Print how things stand, each minute; return when the last one is over."""
    began = at = time.monotonic()
    cpu = server.cpu().total
    while at < began + 60 * minutes:
        await asyncio.sleep(min(60.0, began + 60 * minutes - at))
        before, cpu, before_at, at = cpu, server.cpu().total, at, time.monotonic()
        inside = await asyncio.to_thread(server.inside)
        say(f"{(at - began) / 60:.1f}", server, ledger, inside, f"{100 * (cpu - before) / (at - before_at):.0f} %")


async def end(server: SoakedServer, clients: Clients, count: int, before: Inside) -> End:
    """Hold a request with each client, let all go, and stop the service."""
    held_after = await held_when_settled(server, 0)
    cursor = server.cursor()
    asking: list[asyncio.Future[Answer]] = []
    writers = []
    for number in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        question = job_poll("long poll", str(number % (CHANGING + STEADY) + 1), cursor, LONG_S)
        asking.append(asyncio.ensure_future(clients.ask(reader, writer, question)))
        writers.append(writer)
    await asyncio.sleep(2)
    holding = sum(not request.done() for request in asking)
    held = await held_when_settled(server, holding)
    for request in asking:
        request.cancel()
    for writer in writers:
        writer.close()
    await asyncio.gather(*asking, return_exceptions=True)
    held_alone = await held_when_settled(server, 0)
    await asyncio.sleep(SETTLES_S)
    after = await asyncio.to_thread(server.inside)
    say("after", server, clients.ledger, after)
    assert server.process is not None
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(server.process.wait, 60)
    return End(held_after, holding, held, held_alone, time.monotonic() - began, before, after)


async def held_when_settled(server: JobpushServer, expected: int, seconds: float = 3.0) -> int:
    """Return how many requests the service holds: as soon as that is as expected, at the latest after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        held = await asyncio.to_thread(server.held)
        if held == expected or time.monotonic() > until:
            return held
        await asyncio.sleep(0.1)


def report(ledger: Ledger, ended: End) -> str:
    """Return one row for each kind of request, and what was found at the end."""
    fields = [field.name for field in attrs.fields(Tally)]
    lines = header(["requests", *(name.replace("_", " ") for name in fields[:-1]), "latest, s after its time"])
    for kind, tally in ledger.tallies.items():
        values = attrs.asdict(tally)
        lines.append(row([kind, *(values[name] for name in fields[:-1]), f"{tally.most_s:.2f}"]))
    lines += ["", f"At the end: {ended.held} held of {ended.holding} that the clients held; SIGTERM took {ended.stop_s:.2f} s."]
    lines += [f"The first {sort}: {what}" for sort, what in ledger.first.items()]
    return "\n".join([*lines, *(f"Fault: {what}" for what in ended.faults)])


def violated(log: str) -> list[str]:
    """Return the first few lines of the service's log that tell of a violated invariant."""
    return [line for line in log.splitlines() if "an invariant of held requests is violated" in line][:10]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="0.1 to 240 (default: 20)")
    parser.add_argument("--clients", type=int, default=500, help="10 to 5000 (default: 500)")
    parser.add_argument("--cap", type=int, help="--max-held of the service (default: nine tenths of the clients)")
    parser.add_argument("--default", action="store_true", help="run the service without --max-held and --debug-invariants")
    parser.add_argument("--grace", type=float, default=5.0, help="seconds by which an answer may be late, 1 to 60 (default: 5)")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="the directory whose jobpush is run (default: this one)")
    parser.add_argument("more", nargs="*", help="further arguments of twistd jobpush, after --")
    given = parser.parse_args(arguments)
    if not (0.1 <= given.minutes <= 240 and 10 <= given.clients <= 5000 and 1 <= given.grace <= 60):
        parser.error("out of range")
    cap = given.cap or (sys.maxsize if given.default else int(0.9 * given.clients))
    leave_the_servers_core()
    with tempfile.TemporaryDirectory(prefix="jobpush-bench-") as directory:
        server, ledger = SoakedServer(Path(directory)), Ledger(cap, given.grace)
        server.arguments = (*(() if given.default else ("--max-held", str(cap), "--debug-invariants")), *given.more)
        server.checkout = given.checkout.resolve()
        server.start()
        try:
            print(f"{machine_line([], CORES)}; {given.clients} clients; {' '.join([server.options, *server.arguments])}\n")
            ended = asyncio.run(play(server, ledger, given.clients, given.minutes, given.grace + GIVE_UP_S + 15))
        finally:
            server.stop()
        violations = violated(Path(directory, "log").read_text(errors="replace"))
    print(f"\n{report(ledger, ended)}")
    for violation in violations:
        print(f"Fault: {violation}")
    sys.exit(bool(ended.faults or ledger.faults or violations))


if __name__ == "__main__":
    main()
