"""
What the service does with a queue, whatever its type: the options of ``--queue`` that are not the adapter's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from jobpush.adapter.kinds import Choice, Kind, Number, Text
from jobpush.adapter.options import OptionValues, declared, directory_of, option, read_options
from jobpush.core.workflows import TAG_PATTERNS, Tag
from jobpush.polling.schedule import FLOOR_S, RECONCILE_S, ScheduleOptions


@attrs.frozen
class NamePattern(Kind["re.Pattern[str]"]):
    """A regular expression whose first group is a name."""

    placeholder = "REGEX"
    expected = "a regular expression with a group (…) around the name"

    def read(self, value: object, directory: str = "") -> re.Pattern[str]:
        if not isinstance(value, str):
            raise self.unexpected()
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise self.unexpected(str(error)) from None
        if not pattern.groups:
            raise self.unexpected()
        return pattern


@attrs.frozen
class CommonOptions:
    """The options that every queue has besides its adapter's own."""

    reconcile: float = option(
        Number("seconds", least=0.1), RECONCILE_S, "seconds between two queries while nudges announce what changes"
    )
    floor: float = option(
        Number("seconds", least=0.01), FLOOR_S, "the fewest seconds between two queries, whatever wants them"
    )
    scheduler_name: str | None = option(
        Text(),
        None,
        "the name that the scheduler has for itself: another one that answers in its place is not believed",
        default_text="the one that answered first (Slurm's ClusterName, the name of a PBS server)",
        example="alpha",
    )
    workflow: str = option(
        Choice((*TAG_PATTERNS, "no")),
        "comment",
        "where jobs carry the name of their workflow",
        default_text="comment, as workflow=NAME",
    )
    workflow_pattern: re.Pattern[str] | None = option(
        NamePattern(),
        None,
        "what it looks like there; its first group is the name",
        example="(?:^|[ ,;])workflow=([A-Za-z0-9._-]+)",
    )


@attrs.frozen
class PollingOptions:
    """
    What the service does with a queue, whatever its type.

    :ivar schedule: how often it is asked.
    :ivar tag: where its jobs carry the name of their workflow; None for nowhere.
    :ivar scheduler_name: what its scheduler is to be called; None for as it was called first.
    """

    schedule: ScheduleOptions = attrs.field(factory=ScheduleOptions)
    tag: Tag | None = attrs.field(factory=Tag)
    scheduler_name: str | None = None


def take_common_options(options: Mapping[str, object]) -> tuple[PollingOptions, Mapping[str, object]]:
    """
    Return what the options that are the service's say, and the options that are left for the adapter.

    :raise BadQueueOption: naming what is wrong and what was expected.
    """
    names = {option.name for option in declared(CommonOptions)}
    common = read_options(CommonOptions, {name: value for name, value in options.items() if name in names})
    rest = OptionValues({name: value for name, value in options.items() if name not in names}, directory_of(options))
    schedule = ScheduleOptions(common.floor, common.reconcile)
    return PollingOptions(schedule, _tag(common), common.scheduler_name), rest


def _tag(common: CommonOptions) -> Tag | None:
    if common.workflow == "no":
        return None
    return Tag(common.workflow, common.workflow_pattern or re.compile(TAG_PATTERNS[common.workflow]))
