"""
What ``/metrics`` says, compared with what the clients and the journal know.

Tested by ``tests/faults/test_metrics.py``.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping

from tests.faults.service import Service
from tests.faults.world import Json, World

#: Seconds after which a request certainly is held, and a client that is gone certainly is not any more.
SETTLES_S = 2.0

Sample = tuple[str, frozenset[tuple[str, str]]]


def read(text: str) -> dict[Sample, float]:
    """Return the samples of an answer: by name and labels."""
    found = {}
    for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
        found[name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels))] = float(value)
    return found


async def scrape(service: Service) -> dict[Sample, float]:
    """Ask for the metrics; nothing, where the service cannot write any."""
    answer = await asyncio.to_thread(service.get, "/metrics", 10)
    return read(answer.body.decode()) if answer.status == 200 else {}


async def check_held(service: Service, world: World, deaf: int) -> None:
    """
    In a phase without faults: as many requests of each kind are held as clients wait.

    :param deaf: how many streams were opened by clients that never read; the service may have cut them.
    """
    began = time.monotonic()
    before = set(world.asking)
    samples = await scrape(service)
    after, now = set(world.asking), time.monotonic()
    if not samples or any(window.overlap(began - SETTLES_S, now) >= 0 for window in (*world.down, *world.stopped, *world.crowded)):
        return
    world.compared += 1
    for kind in ("poll", "stream", "socket"):
        held = samples["jobpush_held_requests", frozenset({("kind", kind)})]
        least = sum(one.kind == kind and one.began < began - SETTLES_S for one in before & after)
        left = [one for one in world.asked if one.kind == kind and one.ended is not None and one.ended > began - SETTLES_S]
        most = len({*left, *(one for one in before | after if one.kind == kind)}) + (deaf if kind == "stream" else 0)
        if not least <= held <= most:
            world.violation("metrics", f"{held:g} {kind}s are said to be held, and {least} to {most} clients wait")
    world.asked[:] = [one for one in world.asked if one.ended is None or one.ended > now - SETTLES_S]


def check_end(world: World, samples: Mapping[Sample, float], events: list[Json]) -> None:
    """
    When nobody asks any more: nothing is held, and events are counted as they stand in the journal.

    :param events: all that the journal holds.
    """
    if not samples:
        return
    world.compared += 1
    for (name, labels), value in samples.items():
        if name == "jobpush_held_requests" and value:
            world.violation("metrics", f"{value:g} are said to be held, {dict(labels)}, and nobody asks")
    if (said := samples["jobpush_journal_events", frozenset()]) != len(events):
        world.violation("metrics", f"the journal is said to hold {said:g} events, and it has {len(events)}")
    counted = Counter({dict(labels)["state"]: int(value) for (name, labels), value in samples.items()
                       if name == "jobpush_events_total" and value})  # fmt: skip
    total = sum(counted.values())
    last = events[len(events) - total :] if total <= len(events) else []
    there = Counter(event["job"]["state"] for event in last)
    epochs = {event["cursor"].rpartition("-")[0] for event in last}
    before = events[-total - 1]["cursor"].rpartition("-")[0] if 0 < total < len(events) else None
    if there != counted or len(epochs) > 1 or before in epochs:
        world.violation("metrics", f"told since the start are said to be {dict(counted)}, and the journal has {dict(there)}")
