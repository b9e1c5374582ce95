"""
Parses what Grid Engine's ``qstat -xml`` prints: rows, details, holds. Pure.

Grid Engine's XML is not always well-formed (a ``<job ids>`` in scheduler messages, a root that is left open in an error), but a
``<`` inside a text is always escaped, sometimes as ``%lt;``. So users cannot forge tags by what they write, and the text is
split at its tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone

import attrs

from jobpush.adapter.command import CommandResult, printable
from jobpush.adapter.interfaces import QueueError
from jobpush.core.tasks import TaskSet
from jobpush_adapters.sge.states import seconds

_FIELD = re.compile(rb"<([A-Za-z_]{1,40})>([^<]*)</")
_ENTITY = re.compile(r"&(lt|gt|amp|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});|%lt;")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}


@attrs.frozen
class Row:
    """One ``<job_list>``: a job, one task, or the pending tasks of an array."""

    number: str
    letters: str
    name: str
    user: str
    time: float | None
    waits: bool
    queue: str
    tasks: TaskSet | None


@attrs.frozen
class Details:
    """What ``qstat -j`` prints of a job besides its row; of an array once for all its tasks."""

    submitted_at: float | None = None
    account: str | None = None
    workdir: str | None = None
    comment: str | None = None
    time_limit_s: int | None = None
    begin_at: float | None = None
    depends: bool = False
    errors: Mapping[int, str] = attrs.field(factory=dict)


def split_rows(result: CommandResult) -> list[bytes]:
    """
    Return the rows of ``qstat -u '*' -xml``, each without its priority, which changes all the time.

    :raise QueueError: if it is not a whole answer.
    """
    body = whole(result, b"job_info")
    # The root element and the list within it have one name: both must be closed.
    if body.count(b"</job_info>") < 2:
        raise QueueError("qstat: the answer is cut off")
    rows = []
    for piece in body.split(b"<JB_job_number>")[1:]:
        piece = piece.partition(b"</job_list>")[0]
        number, priority, rest = piece.partition(b"<JAT_prio>")
        rows.append(number + rest.partition(b"</JAT_prio>")[2] if priority else piece)
    return rows


def whole(result: CommandResult, root: bytes) -> bytes:
    """
    Return the output, if it is one whole answer with this root element.

    :raise QueueError: if qstat failed or printed an error as XML (with status 0), or the output is cut off.
    """
    output = result.stdout.strip()
    if result.status != 0:
        raise QueueError(f"qstat ended with status {result.status}: {complaint(result)}")
    if b"<comunication_error" in output[:300] or b"<communication_error" in output[:300]:
        text = re.search(rb"<AN_text>([^<]*)<", output)
        raise QueueError(f"qstat: {printable(plain(text[1]) if text else 'communication error')}")
    if not output:
        raise QueueError(f"qstat printed nothing: {complaint(result)}")
    if not output.startswith(b"<?xml") or b"<" + root not in output[:300]:
        raise QueueError(f"qstat: the answer is none of Grid Engine's: {printable(output[:80].decode('utf-8', 'replace'))}")
    if not output.endswith(b"</" + root + b">"):
        raise QueueError("qstat: the answer is cut off")
    return output


def complaint(result: CommandResult) -> str:
    """Return the error that a command printed: Grid Engine prints permission errors on standard output."""
    if result.stderr.strip() or not result.stdout.strip():
        return result.complaint
    return printable(result.stdout.decode("utf-8", "replace").strip().split("\n")[0])


def parse_row(row: bytes) -> Row:
    """
    Return a row.

    :raise ValueError: if a needed field is missing or not as it should be.
    """
    number, _, rest = row.partition(b"<")
    fields = dict(_FIELD.findall(rest))
    if not re.fullmatch(rb"[1-9][0-9]{0,9}", number):
        raise ValueError("the job number is none")
    letters = plain(fields.get(b"state", b""))
    if not re.fullmatch(r"[A-Za-z]{1,12}", letters):
        raise ValueError("the state is none")
    tasks = plain(fields.get(b"tasks", b""))
    waits = b"JB_submission_time" in fields
    time = plain(fields.get(b"JB_submission_time" if waits else b"JAT_start_time", b""))
    return Row(
        number=number.decode("ascii"),
        letters=letters,
        name=plain(fields.get(b"JB_name", b"")),
        user=plain(fields.get(b"JB_owner", b"")),
        time=utc(time),
        waits=waits,
        queue=plain(fields.get(b"queue_name", b"")),
        # max_aj_tasks bounds how many tasks there are, not their numbers.
        tasks=TaskSet.parse(tasks, most=4_294_967_295) if tasks else None,
    )


def number_of(row: bytes) -> str | None:
    """Return the job number of a row whose other fields may not be understood; None if it has none."""
    found = re.match(rb"[1-9][0-9]{0,9}(?=<)", row)
    return found[0].decode("ascii") if found else None


def parse_details(result: CommandResult) -> dict[str, Details]:
    """
    Return the details by job number, of ``qstat -j 1,2,… -xml``. Unknown jobs are left out.

    :raise QueueError: if it is not a whole answer.
    """
    if b"<unknown_jobs" in result.stdout[:300] and result.status == 0:
        return {}
    body = whole(result, b"detailed_job_info").partition(b"</djob_info>")[0]
    found = {}
    for piece in body.split(b"<JB_job_number>")[1:]:
        number, _, rest = piece.partition(b"<")
        found[number.decode("ascii", "replace")] = _details(rest)
    return found


def _details(text: bytes) -> Details:
    def first(name: bytes) -> str:
        found = re.search(rb"<" + name + rb">([^<]*)</", text)
        return plain(found[1]) if found else ""

    begin = first(b"JB_execution_time")
    project = first(b"JB_project")
    workflow = _pair(text, b"VA_variable", b"workflow", b"VA_value")
    comment = _pair(text, b"VA_variable", b"comment", b"VA_value") or (workflow and f"workflow={workflow}")
    return Details(
        submitted_at=epoch(first(b"JB_submission_time")),
        account=project if project not in ("", "NONE") else first(b"JB_account") or None,
        workdir=first(b"JB_cwd") or None,
        comment=comment,
        time_limit_s=seconds(_pair(text, b"CE_name", b"h_rt", b"CE_stringval") or ""),
        begin_at=epoch(begin),
        depends=b"<JB_jid_predecessor_list>" in text or b"<JB_ja_ad_predecessor_list>" in text,
        errors=dict(_errors(text)),
    )


def _pair(text: bytes, key_tag: bytes, key: bytes, value_tag: bytes) -> str | None:
    """Return the value of a key in a list of pairs; None if it is not there."""
    begin = text.find(b"<" + key_tag + b">" + key + b"</")
    if begin < 0:
        return None
    rest = text[begin : begin + 4000].split(b"<" + key_tag + b">", 2)[1]
    found = re.search(rb"<" + value_tag + rb">([^<]*)</", rest)
    return plain(found[1]) if found else None


def _errors(text: bytes) -> Iterator[tuple[int, str]]:
    """Yield the task numbers and messages of tasks in the error state."""
    for piece in text.split(b"<JAT_task_number>")[1:]:
        task = re.match(rb"[0-9]{1,10}", piece)
        message = re.search(rb"<QIM_message>([^<]*)</", piece)
        if task is not None and message is not None:
            # The date and the process in front say nothing about why.
            yield int(task[0]), re.sub(r"^[0-9/]+ [0-9:]+ \[[0-9:]+\]: ", "", plain(message[1]))


def plain(text: bytes) -> str:
    """Return a text without entities. Grid Engine writes ``<`` as ``%lt;``."""
    shown = text.decode("utf-8", "replace")
    if "&" not in shown and "%" not in shown:
        return shown
    return _ENTITY.sub(_character, shown)


def _character(found: re.Match[str]) -> str:
    name = found[1]
    if name is None:
        return "<"
    if name in _NAMED:
        return _NAMED[name]
    code = int(name[2:], 16) if name.startswith("#x") else int(name[1:])
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"


def epoch(text: str) -> float | None:
    """Return epoch seconds, of milliseconds too, which later versions print. None for 0 and what is no number."""
    if not re.fullmatch(r"[1-9][0-9]{0,13}", text):
        return None
    value = float(text)
    return value / 1000 if value > 1e11 else value


def utc(text: str) -> float | None:
    """Return epoch seconds of ``2026-11-22T07:44:45`` (qstat runs with TZ=UTC); None if it is no time."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
