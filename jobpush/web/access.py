"""
Who may ask. Until there is authentication: everybody who reaches the port, unless the scheduler hides jobs from others.
"""

from __future__ import annotations

from jobpush.service import JobPush
from jobpush.web.problems import Problem


class Access:
    """
    :param anonymous: anybody may see every job, whatever the scheduler hides (``--allow-anonymous``).
    """

    def __init__(self, service: JobPush, anonymous: bool) -> None:
        self._service = service
        self._anonymous = anonymous

    def hidden(self) -> str | None:
        """Return why jobs must not be shown to everybody on this host; None if they may."""
        if self._anonymous:
            return None
        for cluster, monitor in self._service.monitors.items():
            facts = monitor.status.facts
            if facts is not None and facts.hides_jobs:
                return (
                    f"{cluster} hides users' jobs from each other ({facts.evidence}), and every user of this host reaches "
                    "this port: start with --allow-anonymous to show all jobs to all of them"
                )
        return None

    def check(self) -> None:
        """
        :raise Problem: 403, if jobs must not be shown; the connection ends.
        """
        why = self.hidden()
        if why is not None:
            raise Problem(403, why, close=True)
