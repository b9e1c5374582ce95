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

from tests.faults.checker import Checker
from tests.faults.clients import KINDS, Client, Witness
from tests.faults.faults import Faults
from tests.faults.history import History
from tests.faults.machine import Machine
from tests.faults.metrics import check_end, check_held, scrape
from tests.faults.service import Service
from tests.faults.world import Json, Window, World
from tests.proxies import KINDS as KINDS_OF_PROXIES
from tests.proxies import Proxy, missing

#: The names of what ``tests.faults.broken`` puts in; that is loaded by the service's process alone.
BREAKS = ("doubled", "lost", "deadlines", "wedge", "held", "early", "ahead", "metrics", "proxied")

#: Seconds without faults at the begin and at the end; at the end states stand still.
CALM_S = 3.0
STILL_S = 5.0


async def play(service: Service, history: History, world: World, seconds: float, clients: int, draw: random.Random, machine: Machine, proxies: Sequence[Proxy]) -> None:
    """Run it all, and check."""
    starting = Window.now()
    starting.wall = history.versions[0].before
    world.down.append(starting)
    await service.up(starting, world)
    await asyncio.to_thread(service.ready)
    watching = asyncio.ensure_future(world.watch_itself())
    made = [kind(f"{kind.kind} {n}", world, history, random.Random(draw.random())) for n in range(clients) for kind in KINDS]
    for number, client in enumerate(made):  # of each kind, some ask the service itself, some through each proxy
        place = number // len(KINDS) % (len(proxies) + 1)
        if place:
            assert proxies[place - 1].cuts_s is not None
            client.through(proxies[place - 1].name, proxies[place - 1].port, float(proxies[place - 1].cuts_s or 0))
    made.append(Witness("witness", world, history, random.Random(draw.random())))
    running = [asyncio.ensure_future(client.run()) for client in made]
    changing = asyncio.ensure_future(change(history, random.Random(draw.random())))
    faults = Faults(world, service, history, random.Random(draw.random()), machine)
    try:
        await asyncio.sleep(CALM_S)
        await faults.play(asyncio.get_running_loop().time() + seconds - CALM_S - STILL_S)
        await check_held(service, world, len(faults.deaf))
        changing.cancel()
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
        await check(service, history, world, made)
    finally:
        for task in (watching, changing, *running):
            task.cancel()
        faults.hang_up()


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
    Checker(world, history, events).check(service, until)


def report(world: World, history: History, clients: int) -> str:
    """Return a table of what was done, and what was found."""
    lines = ["| requests of | clients | requests | deliveries | cut by faults | cursors lost |", "|---|---|---|---|---|---|"]
    for kind in (each.kind for each in KINDS):
        counts = (world.requests[kind], world.deliveries[kind], world.ended[kind], world.resets[kind])
        lines.append(f"| {kind} | {clients} | {' | '.join(map(str, counts))} |")
    lines += ["", "| fault | times |", "|---|---|", *(f"| {name} | {count} |" for name, count in sorted(world.faults.items()))]
    kills = sum(world.faults[name] for name in ("kill -9", "-wal lost")) + world.faults["backup restored"]
    lines += [
        "",
        f"Ended and started again: {kills + world.faults['SIGTERM']}. Versions of the file: {len(history.versions)}; "
        f"requeues: {history.requeued}; ids used again: {history.reused}; "
        f"calls for the journal that failed: {world.calls_failed}; jobs not known yet: {world.unknown}; clients that hung up: {world.hung_up}; phases without faults: {world.calms}; metrics compared: {world.compared}; requests and streams that proxies cut: {world.cut_by_proxies}.",
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
    parser.add_argument("--break", dest="broken", default="", choices=BREAKS, help="put a known fault into the service")
    parser.add_argument("--log", type=Path, help="where the service's log is copied to")
    given = parser.parse_args(arguments)
    if not (0.2 <= given.minutes <= 600 and 1 <= given.clients <= 100):
        parser.error("out of range")
    print(f"seed {given.seed}, {given.minutes:g} minutes, {given.clients} clients of each kind", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the service is ended, and the directory removed
    draw = random.Random(given.seed)
    with TemporaryDirectory(prefix="jobpush-faults-") as directory:
        service = Service(Path(directory), given.broken)
        machine = Machine(Path(directory))
        service.machine = machine.environment
        history = History(service.jobs_path, random.Random(draw.random()))
        world = World(service.port, *((6.0, 0.5) if given.minutes < 2 else (20.0, 1.0)))
        cuts_s = 5 if given.minutes < 2 else 30
        absent = missing()
        proxies = [make(Path(directory, name), service.port, cuts_s) for name, make in KINDS_OF_PROXIES.items() if name not in absent]
        for name in absent:
            print(f"{name} is not installed: no client asks through it")
        try:
            for proxy in proxies:
                proxy.start()
            asyncio.run(play(service, history, world, 60 * given.minutes, given.clients, draw, machine, proxies))
        except AssertionError as error:
            world.violation("failed", f"{error}; {error.__cause__!r}")
        finally:
            for proxy in proxies:
                proxy.stop()
            if service.process is not None:
                service.stop()
        if given.log:
            shutil.copy(service.log_path, given.log)
        print(report(world, history, given.clients))
    sys.exit(bool(world.violations))


if __name__ == "__main__":
    main()
