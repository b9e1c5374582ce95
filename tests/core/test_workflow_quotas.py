"""How much room workflows take up, and how much there is."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from jobpush.core.workflow import WorkflowMember
from jobpush.core.workflow_quotas import (
    EDGE_BYTES,
    MEMBER_BYTES,
    WORKFLOW_BYTES,
    NoRoom,
    Quotas,
    Room,
    Usage,
    member_size,
    usage_of,
)


class UsageTests(TestCase):
    """What is taken up."""

    def test_of_a_workflow(self) -> None:
        """Its members with their texts, and its edges."""
        member = WorkflowMember(name="align", reason="why")
        self.assertEqual(member_size(("c", "12"), member), MEMBER_BYTES + 2 + 5 + 3)
        self.assertEqual(usage_of({("c", "12"): member}, [1, 2]), Usage(1, 1, WORKFLOW_BYTES + MEMBER_BYTES + 10 + 2 * EDGE_BYTES))

    def test_sums(self) -> None:
        """They add up, and are taken away again."""
        one, two = Usage(1, 2, 3), Usage(10, 20, 30)
        self.assertEqual((one + two, two - one), (Usage(11, 22, 33), Usage(9, 18, 27)))


class RoomTests(TestCase):
    """What is left while a batch is made."""

    def room(self, usage: dict[str, Usage], owner: Usage = Usage(4, 4, 4), total: Usage = Usage(8, 8, 8)) -> Room:  # noqa: B008
        """Of which as much is taken up."""
        return Room(usage, Quotas(owner, total))

    def test_of_one_owner(self) -> None:
        """What is taken in the same batch counts; another owner has as much. Number, members and bytes, each by itself."""
        for more, what in ((Usage(2), "workflows"), (Usage(0, 2), "jobs"), (Usage(0, 0, 2), "bytes")):
            room = self.room({})
            room.take("kim", more)
            room.take("kim", more)
            refused = self.assertRaises(NoRoom, room.take, "kim", more)
            self.assertEqual((refused.whose, str(refused)), ("owner", f"the workflows of kim may have at most 4 {what}"))
            room.take("lee", more)

    def test_of_all(self) -> None:
        """All together, whose owners have room each."""
        room = self.room({"kim": Usage(4), "lee": Usage(3)})
        room.take("pat", Usage(1))
        self.assertEqual(self.assertRaises(NoRoom, room.take, "pat", Usage(1)).whose, "all")

    def test_no_more_than_before(self) -> None:
        """What gives up room, or takes none, is never refused: where the limit is lower than at the last start."""
        room = self.room({"kim": Usage(9, 9, 9)})
        room.take("kim", Usage(0, -1, 0))
        self.assertRaises(NoRoom, room.take, "kim", Usage(0, 1, 0))

    def test_of_tags(self) -> None:
        """They take up three quarters of what there is in all: clients can always put some."""
        room = self.room({"kim": Usage(4), "lee": Usage(2)})
        self.assertRaises(NoRoom, room.take_for_tag, "pat", Usage(1))
        room.take("pat", Usage(1))
