"""The configuration and the files of a Grid Engine, and what jobpush can see and find out by them."""

from __future__ import annotations

import glob
import os
import pwd
import re
from collections.abc import Iterator

import attrs

from jobpush.core.model import QueueFacts
from jobpush_adapters.common.commands import Commands
from jobpush_adapters.common.logs import archives
from jobpush_adapters.sge.states import seconds

#: Options in the file ``sge_qstat(5)`` that hide jobs from every ``qstat``.
_NARROWING = {"-q", "-l", "-pe", "-U", "-qs"}


#: What is said where the reporting file is not followed.
UNPROVED = "deletions cannot be proved, and a job that was deleted is told as one that was killed"


@attrs.frozen
class ReportingParams:
    """
    The reporting_params of ``qconf -sconf`` (``sge_conf(5)``).

    :ivar accounting: whether accounting records are written.
    :ivar joblog: whether deletions are written to the reporting file.
    :ivar flush_s: seconds after which accounting records are written at the latest.
    """

    accounting: bool
    joblog: bool
    flush_s: int

    @classmethod
    def parse(cls, stdout: bytes) -> ReportingParams:
        """Parse what ``qconf -sconf`` prints."""
        parameters = dict(re.findall(r"([a-z_]+)=([^ ,]+)", parse_config(stdout).get("reporting_params", "")))
        on = {name for name, value in parameters.items() if value.lower() in ("true", "1")}
        flush_s = seconds(parameters.get("accounting_flush_time") or parameters.get("flush_time", ""))
        # 00:00:00 of accounting_flush_time means at once; flush_time has no such value.
        return cls("accounting" in on, {"reporting", "joblog"} <= on, 15 if flush_s is None else flush_s)


@attrs.frozen
class Files:
    """
    The files that can be followed, and the problems of those that cannot.

    :ivar accounting: the path of the accounting file; None if ``qacct`` is asked.
    :ivar reporting: the path of the reporting file; None if deletions cannot be told from signals.
    :ivar spool: the directory to which the qmaster writes each change of a job, or None.
    :ivar problems: what an administrator may want to change.
    :ivar hides: a message on a file with options that hide jobs from ``qstat``, or None.
    :ivar missing: why there is no accounting file, or None.
    :ivar asks_qacct: whether ``qacct`` is asked in place of the files, because they are on another host or not to be found.
    """

    accounting: str | None = None
    reporting: str | None = None
    problems: tuple[str, ...] = ()
    hides: str | None = None
    spool: str | None = None
    missing: str | None = None
    asks_qacct: bool = False

    @classmethod
    def find(cls, root: str | None, cell: str, settings: ReportingParams, remote: bool) -> Files:
        """Return the files under ``root/cell/common``."""
        files = cls._logs(root, cell, settings, remote)
        if root is None or remote:
            return files
        return attrs.evolve(files, spool=_spool(os.path.join(root, cell, "common", "bootstrap")))

    @classmethod
    def _logs(cls, root: str | None, cell: str, settings: ReportingParams, remote: bool) -> Files:
        if not settings.accounting:
            return cls()
        asked = f"qacct is asked instead, and a job that comes and goes between two queries is not seen; {UNPROVED}"
        if remote:
            where = f"the accounting file is on another host and cannot be followed: {asked}"
            return cls(problems=(where,), asks_qacct=True)
        common = os.path.join(root, cell, "common") if root is not None else None
        if common is None or not os.path.isdir(common):
            where = f"the accounting file cannot be found ({common or 'no SGE_ROOT'}; say root=): {asked}"
            return cls(problems=(where,), asks_qacct=True)
        hides = " and ".join(filter(None, map(_narrowing_defaults, _defaults_files(common)))) or None
        accounting, reporting = _newest(common, "accounting"), _newest(common, "reporting")
        if not _may_read(accounting):
            return cls(missing=f"{accounting} cannot be read", hides=hides)
        missing = None
        if not os.path.exists(accounting) and not archives(accounting):
            missing = f"{accounting} is not there"
        if not settings.joblog:
            why = "deletions are not logged (reporting_params reporting=true joblog=true)"
        elif not _may_read(reporting):
            why = f"{reporting} cannot be read"
        else:
            return cls(accounting, reporting, hides=hides, missing=missing)
        return cls(accounting, None, (f"{why}: {UNPROVED}",), hides, missing=missing)


def facts(settings: ReportingParams, files: Files, cell: str, grace: float) -> QueueFacts:
    """Return the facts on what can be seen and found out."""
    problems = list(files.problems)
    accounting = settings.accounting and files.missing is None
    if files.missing is not None:
        problems.append(f"there is no accounting: {files.missing}: how a job ended cannot be known, it is told as LOST")
    if not settings.accounting:
        problems.append(
            "there is no accounting (reporting_params accounting=false): how a job ended cannot be known, it is told as LOST"
        )
    elif settings.flush_s > grace / 2:
        problems.append(
            f"accounting records are written every {settings.flush_s} s only (reporting_params accounting_flush_time), and "
            f"after grace={grace:g} s a job is told as LOST: make one shorter or the other longer"
        )
    evidence = f"qconf answers, so this is a submit or admin host of cell {cell}, and Grid Engine hides no jobs"
    if files.hides is not None:
        problems.append(files.hides)
        evidence = files.hides
    return QueueFacts(
        sees_all=files.hides is None,
        accounting=accounting,
        remembers_s=None if settings.accounting else 0.0,
        remembers_by="reporting_params accounting",
        evidence=evidence,
        problems=tuple(problems),
        lists_ended=False,
        records_waiting=accounting and files.reporting is not None,
    )


def _newest(common: str, name: str) -> str:
    """Return the path of a file: Open Cluster Scheduler 9 writes JSON lines, and may name it ``.jsonl``."""
    plain, lines = os.path.join(common, name), os.path.join(common, f"{name}.jsonl")
    if not os.path.exists(lines):
        return plain
    return lines if not os.path.exists(plain) or os.path.getmtime(lines) >= os.path.getmtime(plain) else plain


def _defaults_files(common: str) -> Iterator[str]:
    """Yield the files of default options that every ``qstat`` of this account reads (``sge_qstat(5)``)."""
    yield os.path.join(common, "sge_qstat")
    try:
        # qstat asks the user database; HOME is not in its environment.
        yield os.path.join(pwd.getpwuid(os.geteuid()).pw_dir, ".sge_qstat")
    except KeyError:
        return


def _narrowing_defaults(path: str) -> str | None:
    """Return a message on options in a file that hide jobs from every ``qstat`` (``sge_qstat(5)``); None if there are none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            words = {word for line in file if not line.startswith("#") for word in line.split()}
    except OSError:
        return None
    narrowing = " ".join(sorted(_NARROWING & words))
    return f"{path} narrows every qstat ({narrowing}): jobs are hidden" if narrowing else None


def _spool(bootstrap: str) -> str | None:
    """
    Return the directory of the qmaster's database (``bootstrap(5)``), if it is on this host and may be watched.

    Measured: a change of a job is written to it when ``qstat`` begins to show the change. With classic spooling the jobs' files
    are in too many directories to watch.
    """
    try:
        with open(bootstrap, encoding="utf-8", errors="replace") as file:
            lines = dict(line.split(None, 1) for line in file if len(line.split(None, 1)) == 2)
    except OSError:
        return None
    directory = lines.get("spooling_params", "").strip()
    if lines.get("spooling_method", "").strip() != "berkeleydb" or not os.path.isabs(directory):
        return None
    return directory if os.path.isdir(directory) and os.access(directory, os.R_OK | os.X_OK) else None


def _may_read(path: str) -> bool:
    """Return whether a file can be read or does not exist yet."""
    return not os.path.exists(path) or os.access(path, os.R_OK)


def parse_config(stdout: bytes) -> dict[str, str]:
    """Return what ``qconf -sconf`` prints as a table; long values continue after a backslash."""
    text = re.sub(r"\\\n\s*", " ", stdout.decode("utf-8", "replace"))
    pairs = (line.split(None, 1) for line in text.split("\n") if not line.startswith("#"))
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def with_programs(commands: Commands, root: str | None) -> Commands:
    """Return how commands are run, with Grid Engine's directory of programs under SGE_ROOT, if no directory is given."""
    if commands.directory is None and not commands.remote and root:
        for path in sorted(glob.glob(os.path.join(glob.escape(root), "bin", "*", "qstat"))):
            return attrs.evolve(commands, directory=os.path.dirname(path))
    return commands
