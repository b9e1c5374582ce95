"""The newest events, in memory, and what they are found by."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire
from jobpush.core.filters import Scope
from jobpush.core.model import JobDescriptor, Phase
from jobpush.core.record import Change, Event
from jobpush.core.stored_event import StoredEvent
from jobpush.events import recent_events
from jobpush.events.recent_events import Tail

KEYS = [("c", "1"), ("c", "2"), ("d", "1"), ("c", "7_1"), ("c", "7_2"), ("c", "7")]
USERS = ["kim", "lee"]


def event(seq: int, key: tuple[str, str] = ("c", "1"), user: str | None = None, name: str | None = None) -> Event:
    """The event with that number."""
    cluster, job_id = key
    parent = job_id.partition("_")[0] if "_" in job_id else None
    job = JobDescriptor(cluster=cluster, id=job_id, parent=parent, user=user, name=name, phase=Phase.RUNNING, native={"state": "R"})
    return wire.number("e", seq, Change(job, None, 1.0))


def events(first: int, last: int) -> list[Event]:
    """The events with these numbers."""
    return [event(seq) for seq in range(first, last + 1)]


def kept(tail: Tail, since: int, scope: Scope = Scope()) -> list[int]:  # noqa: B008
    """The numbers of the events after one, as they are got from the tail."""
    return [tail.get(seq).seq for seq in tail.find(scope, since)]


class TailTests(SynchronousTestCase):
    """`Tail`."""

    def test_fill(self) -> None:
        """It begins with the journal's last events, and goes on from there; with fewer, or none, it covers what it has."""
        for count, oldest in ((4, 16), (2, 18), (0, 20)):
            tail = Tail(0, 4)
            tail.fill(lambda most, _, count=count: list(map(StoredEvent.of, events(21 - min(most, count), 20))), 20)
            self.assertEqual((tail.head, tail.covers(oldest), tail.covers(oldest - 1)), (20, True, False))
            tail.append(events(21, 22))
            self.assertEqual(kept(tail, tail.oldest)[-2:], [21, 22])

    @given(st.integers(0, 50), st.integers(1, 20), st.lists(st.integers(0, 30), max_size=20))
    def test_window(self, head: int, capacity: int, batches: list[int]) -> None:
        """It has the newest without a gap: as many as it should keep, once there are so many, and hardly more."""
        tail = Tail(head, capacity)
        total = 0
        for size in batches:
            tail.append(events(tail.head + 1, tail.head + size))
            total += size
            self.assertEqual(tail.head, head + total)
            self.assertTrue(min(capacity, total) <= tail.head - tail.oldest <= capacity + capacity // 20)
            self.assertFalse(tail.covers(tail.oldest - 1))
            for since in range(tail.oldest, tail.head + 1):
                self.assertTrue(tail.covers(since))
                self.assertEqual(kept(tail, since), list(range(since + 1, tail.head + 1)))

    def test_bytes(self) -> None:
        """However many it may keep, they take no more bytes than it may have."""
        each = len(event(1).data) + recent_events.OVERHEAD
        tail = Tail(0, 1000, 40 * each)
        for seq in range(1, 200):
            tail.append([event(seq)])
            self.assertLessEqual(tail.head - tail.oldest, 40)
        self.assertGreater(tail.head - tail.oldest, 30)

    def test_decoded_when_it_is_wanted(self) -> None:
        """The newest are at hand; an older one is decoded from its bytes, and is the same."""
        self.patch(recent_events, "AT_HAND", 3)
        tail = Tail(0)
        written = [event(seq, KEYS[seq % 6], "kim") for seq in range(1, 11)]
        for batch in (written[:1], written[1:6], written[6:]):
            tail.append(batch)
        for seq, of in enumerate(written, 1):
            found = tail.get(seq).event
            self.assertEqual(found is of, seq > 7)
            self.assertEqual((found.data, found.seq, found.at, found.previous), (of.data, of.seq, of.at, of.previous))
            self.assertEqual(wire.number("e", seq, Change(found.job, found.previous, found.at)).data, of.data)
            self.assertEqual(tail.get(seq).facts, StoredEvent.of(of).facts)

    def test_numbers(self) -> None:
        """One that does not follow is a fault; so is to get one that is not kept."""
        tail = Tail(5)
        self.assertEqual((Tail().head, tail.covers(5), tail.covers(4)), (0, True, False))
        for seq in (5, 7):
            self.assertRaises(AssertionError, tail.append, events(seq, seq))
        self.assertRaises(AssertionError, tail.get, 5)


class IndexTests(SynchronousTestCase):
    """What is found by what it is of is what one finds who looks through all."""

    @given(
        st.integers(1, 12),
        st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([*USERS, None])), max_size=40),
        st.frozensets(st.sampled_from([*KEYS, ("c", "99")])),
        st.frozensets(st.sampled_from([*USERS, "nobody"])),
    )
    def test_found(
        self,
        capacity: int,
        told: list[tuple[tuple[str, str], str | None]],
        keys: frozenset[tuple[str, str]],
        users: frozenset[str],
    ) -> None:
        """Of jobs, of arrays with their tasks, of users; also when the oldest are gone."""
        tail = Tail(0, capacity)
        written = [event(seq, key, user) for seq, (key, user) in enumerate(told, 1)]
        for one in written:
            tail.append([one])
        for since in range(tail.oldest, tail.head + 1):
            of_keys = [e.seq for e in written if e.seq > since and (e.key in keys or (e.key[0], e.parent) in keys)]
            of_users = [e.seq for e in written if e.seq > since and e.job.user in users]
            for scope, expected in ((Scope(keys), of_keys), (Scope(None, users), of_users)):
                found = kept(tail, since, scope)
                self.assertEqual(found, sorted(set(found)))
                self.assertLessEqual(set(expected), set(found))
                if len(scope.keys or scope.users or ()) <= tail.head - since:
                    self.assertEqual(found, expected)

    def test_nothing_is_left_of_what_is_gone(self) -> None:
        """What it is found by does not grow with the jobs that once were."""
        tail = Tail(0, 10)
        for seq in range(1, 1000):
            tail.append([event(seq, ("c", f"{seq}_1"), f"user{seq}")])
        index = tail._index
        self.assertLessEqual((len(index._by_key), len(index._by_user)), (20, 10))

    @given(
        st.integers(1, 12),
        st.lists(st.text("ab", max_size=3) | st.none(), max_size=40),
        st.lists(st.text("ab", min_size=1, max_size=3), max_size=3),
        st.integers(0, 40),
    )
    def test_names(self, capacity: int, names: list[str | None], begin: list[str], asked: int) -> None:
        """Of names that begin so, also of new ones, and when the oldest are gone."""
        tail = Tail(0, capacity)
        scope = Scope(names=tuple(begin))
        for seq, name in enumerate(names, 1):
            tail.append([event(seq, name=name)])
            if seq in (asked, len(names)):
                since = tail.oldest
                expected = [n for n in range(since + 1, seq + 1) if (names[n - 1] or "").startswith(tuple(begin)) and names[n - 1]]
                found = kept(tail, since, scope)
                self.assertLessEqual(set(expected), set(found))
                self.assertIn(found, (expected, list(range(since + 1, seq + 1))))

    def test_many_names(self) -> None:
        """Names of which nothing is left are forgotten."""
        tail = Tail(0, 10)
        for seq in range(1, 1000):
            tail.append([event(seq, name=f"name{seq}")])
        self.assertLessEqual(len(tail._index._names), 25)
        self.assertEqual(kept(tail, tail.oldest, Scope(names=("name99",))), list(range(990, 1000)))
