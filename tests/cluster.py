"""What the real clusters of the tests have in common: commands that run against them, as any user."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping


class Cluster:
    """
    :cvar directory: where commands run.
    """

    directory = "/"

    @property
    def environment(self) -> Mapping[str, str]:
        """What the scheduler's commands need to find this cluster."""
        raise NotImplementedError

    def run(self, *argv: str, user: str | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command against this cluster, as that user."""
        prefix = ["runuser", "-u", user, "--"] if user is not None else []
        return subprocess.run(
            [*prefix, *argv], env=dict(self.environment), capture_output=True, timeout=timeout, text=True, errors="replace",
            cwd=self.directory, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def command(self, *argv: str, user: str | None = None) -> str:
        """Run a command that must succeed; its output."""
        result = self.run(*argv, user=user)
        if result.returncode != 0:
            raise AssertionError(f"{argv}: status {result.returncode}: {result.stderr.strip() or result.stdout.strip()}")
        return result.stdout.strip()
