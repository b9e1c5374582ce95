"""
What the service does with a queue, whatever its type: the options of ``--queue`` that are not the adapter's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.options import OptionReader
from jobpush.core.workflows import TAG_PATTERNS, Tag
from jobpush.polling.schedule import FLOOR_S, RECONCILE_S, PaceOptions

#: The options that every queue has besides its adapter's own.
COMMON_OPTIONS = f"""\
reconcile=SECONDS: the time between two queries while nudges announce what changes (default: {RECONCILE_S:g})
floor=SECONDS: the least time between two queries, whatever wants them (default: {FLOOR_S:g})
workflow=comment|name|account|no: where jobs carry the name of their workflow (default: comment, as workflow=NAME)
workflow_pattern=REGEX: what it looks like there; its first group is the name"""


@attrs.frozen
class QueueOptions:
    """
    What the service does with a queue, whatever its type.

    :ivar pace: how often it is asked.
    :ivar tag: where its jobs carry the name of their workflow; None for nowhere.
    """

    pace: PaceOptions = attrs.field(factory=PaceOptions)
    tag: Tag | None = attrs.field(factory=Tag)


def take_common_options(kind: str, options: Mapping[str, object]) -> tuple[QueueOptions, Mapping[str, object]]:
    """
    The options that are the service's, and those that are left for the adapter.

    :raise BadQueueOption: naming what is wrong and what was expected.
    """
    names = ("reconcile", "floor", "workflow", "workflow_pattern")
    reader = OptionReader({name: options[name] for name in names if name in options})
    try:
        pace = PaceOptions(
            floor=reader.seconds("floor", FLOOR_S, least=0.01) or FLOOR_S,
            reconcile=reader.seconds("reconcile", RECONCILE_S, least=0.1) or RECONCILE_S,
        )
        tag = _take_tag(reader)
    except BadQueueOption as error:
        raise BadQueueOption(f"queue {kind!r}: {error}") from None
    return QueueOptions(pace, tag), {name: value for name, value in options.items() if name not in names}


def _take_tag(reader: OptionReader) -> Tag | None:
    field = reader.text("workflow", "comment") or "comment"
    text = reader.text("workflow_pattern")
    if field == "no":
        return None
    if field not in TAG_PATTERNS:
        raise BadQueueOption(f"workflow={field!r}: expected {', '.join(TAG_PATTERNS)} or no")
    try:
        pattern = re.compile(text or TAG_PATTERNS[field])
    except re.error as error:
        raise BadQueueOption(f"workflow_pattern={text!r}: not a regular expression: {error}") from None
    if not pattern.groups:
        raise BadQueueOption(f"workflow_pattern={text!r}: expected a group (…) around the name")
    return Tag(field, pattern)
