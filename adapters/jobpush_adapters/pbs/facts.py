"""What jobpush can see and find out of a PBS or Torque server, by its attributes. Pure."""

from __future__ import annotations

import attrs

from jobpush.adapter.command import printable
from jobpush.adapter.interfaces import OtherCluster
from jobpush.core.model import QueueFacts
from jobpush_adapters.pbs.parse import Attributes
from jobpush_adapters.pbs.states import duration


@attrs.define
class ServerName:
    """
    The name of the server, as in the ids of its jobs.

    :ivar name: of the one that has answered; None before that.
    """

    name: str | None = None
    _is_believed: bool = False

    def answers(self, name: str | None) -> None:
        """
        A server has answered.

        :raise OtherCluster: if it is another one than that whose jobs were asked for.
        """
        if self._is_believed and self.name is not None and name is not None and name != self.name:
            raise OtherCluster(
                f"the answers are those of the server {printable(name)}, expected {self.name}; its jobs are not told"
            )
        self.name = name

    def believe(self) -> None:
        """Its jobs are asked for: the name was that of the queue's server."""
        self._is_believed = True


def sees_all(a: Attributes, account: str, hidden_by_default: bool) -> tuple[bool, bool, str]:
    """
    Return whether the account sees all jobs, whether the server hides any, and the evidence.

    :param hidden_by_default: whether jobs are hidden if the server has no ``query_other_jobs`` (so in Torque).
    """
    value = a.get("query_other_jobs", "False" if hidden_by_default else "True")
    if value.lower() in ("true", "1", "t"):
        return True, False, f"query_other_jobs={value}"
    for role in ("managers", "operators", "acl_roots"):
        if account in users(a.get(role, "")) and (role != "acl_roots" or account == "root"):
            return True, True, f"query_other_jobs={value}, and {account} is one of the server's {role}"
    return False, True, f"query_other_jobs={value}, and {account} is no operator"


def users(patterns: str) -> set[str]:
    """Return the users in ``a@*,b@host``, whatever the host."""
    return {pattern.strip().partition("@")[0] for pattern in patterns.split(",")}


def keeps_history(a: Attributes) -> bool:
    """Return whether the server keeps jobs that have ended."""
    return a.get("job_history_enable", "False").lower() in ("true", "1")


def pbs_facts(a: Attributes, account: str, log: str | None) -> QueueFacts:
    """
    Return the facts on a PBS Pro or OpenPBS server.

    :param log: the directory of the accounting log, if it can be read.
    """
    sees, hides, evidence = sees_all(a, account, False)
    history = keeps_history(a)
    problems = _blind(sees, account, evidence)
    remembers = float(duration(a.get("job_history_duration", "336:00:00")) or 0) if history else 0.0
    if not history and log is not None:
        problems.append(f"the server keeps no history (job_history_enable): outcomes come from the accounting log in {log}")
    elif not history:
        problems.append(
            "the server keeps no history (job_history_enable) and its accounting log cannot be read: how a job ended cannot be "
            "known, it is told as LOST; set job_history_enable=True"
        )
    by = "job_history_duration" if history else "job_history_enable"
    # With a log that can be read no history is needed.
    kept = None if not history and log is not None else remembers
    # Subjobs that have ended are listed until their array has; then they vanish with it.
    return QueueFacts(
        sees, hides, history or log is not None, kept, by, evidence, tuple(problems), lists_ended=False, whole_arrays=True
    )


def torque_facts(a: Attributes, account: str) -> QueueFacts:
    """Return the facts on a Torque server."""
    sees, hides, evidence = sees_all(a, account, True)
    problems = _blind(sees, account, evidence)
    kept = float(duration(a.get("keep_completed", "0")) or 0)
    if not kept:
        problems.append(
            "the server forgets completed jobs at once (keep_completed): how a job ended cannot be known, it is told as LOST; "
            "set keep_completed to some minutes"
        )
    return QueueFacts(sees, hides, False, kept, "keep_completed", evidence, tuple(problems))


def _blind(sees: bool, account: str, evidence: str) -> list[str]:
    if sees:
        return []
    mend = f"make {account} an operator (qmgr -c 'set server operators += {account}@*')"
    return [f"{evidence}: other users' jobs cannot be seen; {mend}"]
