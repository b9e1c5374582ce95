"""
jobpush while things fail: ``python -m tests.faults``, or ``make faults SEED=1 MINUTES=10``.

Random histories of jobs go through the mock queue's file; clients of each kind follow them by cursor while the service is
killed and stopped, its journal lost or restored, and the file broken. Then all that the clients were told is compared with the
journal and with what stood in the file. Everything is on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.checker import Checker, clock
from tests.faults.clients import KINDS, Client, Witness
from tests.faults.faults import Faults
from tests.faults.history import History
from tests.faults.machine import Machine
from tests.faults.metrics import check_end, check_held, scrape
from tests.faults.service import Service
from tests.faults.slurm_checker import SlurmChecker, untold
from tests.faults.slurm_faults import SlurmFaults
from tests.faults.slurm_history import SlurmHistory
from tests.faults.world import Json, Window, World
from tests.proxies import KINDS as KINDS_OF_PROXIES
from tests.proxies import Proxy, missing

#: The names of what ``tests.faults.broken`` puts in; that is loaded by the service's process alone.
BREAKS = ("doubled", "lost", "deadlines", "wedge", "held", "early", "ahead", "metrics", "proxied")

#: The same with a scripted Slurm alone.
SLURM_BREAKS = ("slow", "unseen", "invented", "endless")

#: Seconds without faults at the begin and at the end; at the end states stand still.
CALM_S = 3.0
STILL_S = 5.0

#: How many jobs appear at once, and vanish, after a run of some minutes with a scripted Slurm; and seconds for the service to
#: tell that, and for accounting to be asked again about ends that are not told yet.
MULTITUDE = 50_000
MULTITUDE_MINUTES = 2.0
MULTITUDE_S = 90.0
ASKED_AGAIN_S = 75.0

#: The same, in a service with a known fault: long enough to see it.
BROKEN_S = 8.0


async def play(
    service: Service, history: History, world: World, seconds: float, clients: int, draw: random.Random, machine: Machine,
    proxies: Sequence[Proxy],
) -> None:  # fmt: skip
    """Run it all, and check."""
    starting = Window.now()
    starting.wall = history.versions[0].before
    world.down.append(starting)
    await service.up(starting, world)
    await asyncio.to_thread(service.ready)
    watching = asyncio.ensure_future(world.watch_itself())
    starving = asyncio.ensure_future(world.watch_service(lambda: service.process.pid if service.process is not None else None))
    made = [kind(f"{kind.kind} {n}", world, history, random.Random(draw.random())) for n in range(clients) for kind in KINDS]
    for number, client in enumerate(made):  # of each kind, some ask the service itself, some through each proxy
        place = number // len(KINDS) % (len(proxies) + 1)
        if place:
            assert proxies[place - 1].cuts_s is not None
            client.through(proxies[place - 1].name, proxies[place - 1].port, float(proxies[place - 1].cuts_s or 0))
    made.append(Witness("witness", world, history, random.Random(draw.random())))
    running = [asyncio.ensure_future(client.run()) for client in made]
    changing = asyncio.ensure_future(change(history, random.Random(draw.random())))
    if isinstance(history, SlurmHistory):
        faults: Faults = SlurmFaults(world, service, history, random.Random(draw.random()), machine)
    else:
        faults = Faults(world, service, history, random.Random(draw.random()), machine)
    try:
        await asyncio.sleep(CALM_S)
        await faults.play(asyncio.get_running_loop().time() + seconds - CALM_S - STILL_S)
        await check_held(service, world, len(faults.deaf))
        changing.cancel()
        if isinstance(history, SlurmHistory):
            history.settle()
        await asyncio.sleep(STILL_S)
        world.ending.set()
        await asyncio.wait(running, timeout=world.longest + 40)
        for client, task in zip(made, running, strict=True):
            if not task.done():
                world.violation("no answer", f"{client.name} has not ended")
                task.cancel()
            elif task.exception() is not None:
                raise AssertionError(f"{client.name} failed") from task.exception()
        faults.hang_up()
        if isinstance(history, SlurmHistory):
            await endings(service, history)
            if seconds >= 60 * MULTITUDE_MINUTES:
                await multitude(service, history, world)
        await check(service, history, world, made)
    finally:
        for task in (watching, starving, changing, *running):
            task.cancel()
        faults.hang_up()


async def endings(service: Service, history: SlurmHistory) -> None:
    """Wait until each end is told that accounting has, or for as long as it may not be asked again."""
    end = time.monotonic() + (BROKEN_S if service.broken else ASKED_AGAIN_S)
    while untold(history.endings, await asyncio.to_thread(service.events), time.time()) and time.monotonic() < end:
        await asyncio.sleep(1.0)


async def multitude(service: Service, history: SlurmHistory, world: World) -> None:
    """Very many jobs appear, and vanish when they have been told. Accounting has none of them."""
    cursor = (await asyncio.to_thread(service.get, "/v1/changes")).json["cursor"]
    jobs = set(history.crowd_of(MULTITUDE))
    for state in ("QUEUED", "CANCELLED"):
        end, missing = time.monotonic() + MULTITUDE_S, set(jobs)
        while True:
            events = await asyncio.to_thread(service.events, cursor)
            missing -= {event["job"]["id"] for event in events if event["job"]["state"] == state}
            cursor = events[-1]["cursor"] if events else cursor
            if not missing:
                break
            if time.monotonic() > end:
                world.violation("state not told", f"{len(missing)} of {MULTITUDE} jobs as {state} in {MULTITUDE_S:g} s")
                break
            await asyncio.sleep(2.0)
        history.disperse_all()
    world.faults[f"{MULTITUDE} jobs"] += 1


async def change(history: History, draw: random.Random) -> None:
    """Jobs change all the time, now quickly, now slowly."""
    while True:
        history.step()
        await asyncio.sleep(draw.choice([0.05, 0.3, draw.uniform(0.5, 1.5), 4.0 if draw.random() < 0.2 else 0.5]))


async def check(service: Service, history: History, world: World, made: Sequence[Client]) -> None:
    """At the end: the clients read the rest, nobody is held, and all is as it must be."""
    until = time.time()
    for client in made:
        await client.finish()
    for _ in range(50):
        held = (await asyncio.to_thread(service.get, "/readyz")).json["held"]
        if not held:
            break
        await asyncio.sleep(0.1)
    if held:
        world.violation("held", f"{held} requests are held of clients that are gone")
    samples = await scrape(service)
    told: list[Json] = await asyncio.to_thread(service.events)
    if await asyncio.to_thread(service.stop) not in (0, -signal.SIGTERM):
        world.violation("end", "SIGTERM without any client did not end the service in order")
    events = await asyncio.to_thread(service.journal_events)
    if [event["cursor"] for event in told] != [event["cursor"] for event in events]:
        world.violation("since=0", f"{len(told)} events were told, and the journal has {len(events)}")
    check_end(world, samples, events)
    if isinstance(history, SlurmHistory):
        SlurmChecker(world, history, events).check(service, until)
    else:
        Checker(world, history, events).check(service, until)


def report(world: World, history: History, clients: int) -> str:
    """Return a table of what was done, and what was found."""
    lines = ["| requests of | clients | requests | deliveries | cut by faults | cursors lost |", "|---|---|---|---|---|---|"]
    for kind in (each.kind for each in KINDS):
        counts = (world.requests[kind], world.deliveries[kind], world.ended[kind], world.resets[kind])
        lines.append(f"| {kind} | {clients} | {' | '.join(map(str, counts))} |")
    lines += ["", "| fault | times |", "|---|---|", *(f"| {name} | {count} |" for name, count in sorted(world.faults.items()))]
    kills = sum(world.faults[name] for name in ("kill -9", "-wal lost")) + world.faults["backup restored"]
    if isinstance(history, SlurmHistory):
        lines += [
            "",
            f"Jobs that ended in leaving squeue: {history.vanished}; arrays: {len(history.arrays)}; ends of which accounting had "
            f"the record seconds later: {history.late}; never: {history.never}; ends compared: {len(history.endings)}.",
        ]
    lines += [
        "",
        f"Ended and started again: {kills + world.faults['SIGTERM']}. Versions of the file: {len(history.versions)}; "
        f"requeues: {history.requeued}; ids used again: {history.reused}; "
        f"calls for the journal that failed: {world.calls_failed}; jobs not known yet: {world.unknown}; clients that hung up: {world.hung_up}; phases without faults: {world.calms}; metrics compared: {world.compared}; requests and streams that proxies cut: {world.cut_by_proxies}.",
        f"The service waited for a processor at most {world.starved[0]:.2f} s of one second, at {clock(world.starved[1])}.",
        f"In all: {sum(world.faults.values())} faults, {clients * len(KINDS)} clients, {sum(world.requests.values())} requests, "
        f"{sum(world.deliveries.values())} deliveries, {sum(world.violations.values())} violations.",
        *(f"{count} x {kind}" for kind, count in world.violations.items()),
        *world.first,
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    parser.add_argument("--minutes", type=float, default=10.0, help="0.2 to 600 (default: 10)")
    parser.add_argument("--clients", type=int, default=6, help="of each kind, 1 to 100 (default: 6)")
    parser.add_argument("--break", dest="broken", action="append", default=[], choices=(*BREAKS, *SLURM_BREAKS), help="put a known fault in")
    parser.add_argument("--source", choices=("mock", "slurm"), default="mock", help="of the jobs (default: mock)")
    parser.add_argument("--log", type=Path, help="where the service's log is copied to")
    given = parser.parse_args(arguments)
    if not (0.2 <= given.minutes <= 600 and 1 <= given.clients <= 100):
        parser.error("out of range")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the service is ended, and the directory removed
    sys.exit(run(given, given.source, given.minutes))


def run(given: argparse.Namespace, source: str, minutes: float) -> bool:
    """With jobs of that source, for so many minutes: report, and return whether there was a violation."""
    print(f"source {source}, seed {given.seed}, {minutes:g} minutes, {given.clients} clients of each kind", flush=True)
    draw = random.Random(given.seed)
    with TemporaryDirectory(prefix="jobpush-faults-") as directory:
        service = Service(Path(directory), ",".join(given.broken), source)
        machine = Machine(Path(directory))
        service.machine = machine.environment
        made = random.Random(draw.random())
        history = SlurmHistory(Path(directory), made) if source == "slurm" else History(service.jobs_path, made)
        world = World(service.port, *((6.0, 0.5) if minutes < 2 else (20.0, 1.0)), dates_are_of_looks=source == "mock")
        cuts_s = 5 if minutes < 2 else 30
        absent = missing()
        wanted = KINDS_OF_PROXIES if source == "mock" else {}
        proxies = [make(Path(directory, name), service.port, cuts_s) for name, make in wanted.items() if name not in absent]
        for name in absent:
            print(f"{name} is not installed: no client asks through it")
        try:
            for proxy in proxies:
                proxy.start()
            asyncio.run(play(service, history, world, 60 * minutes, given.clients, draw, machine, proxies))
        except AssertionError as error:
            world.violation("failed", f"{error}; {error.__cause__!r}")
        finally:
            for proxy in proxies:
                proxy.stop()
            if service.process is not None:
                service.stop()
        if given.log:
            shutil.copy(service.log_path, given.log)
        print(report(world, history, given.clients), flush=True)
    return bool(world.violations)


if __name__ == "__main__":
    main()
