"""
Runs a scheduler's commands: on this host, or on another through a prefix such as ``ssh login1``.

Either way a command has an environment of its own, a deadline and a limit on the size of its output. For another host every
argument is quoted for the shell that ssh gives it to, and ``timeout`` ends the command there even if the connection is lost.
"""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred, FirstError
from twisted.python.failure import Failure

from jobpush.adapter.command import CommandResult, find_executable, run_command
from jobpush.adapter.interfaces import IQueueReactor, QueueError

#: The variables of this process's environment that a prefix command gets: ssh needs its keys and its agent.
_KEPT_FOR_PREFIX = ("PATH", "HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "KRB5CCNAME")

#: The exit status of timeout(1) after it has ended a command.
_TIMED_OUT = 124


@attrs.frozen
class Commands:
    """
    :ivar timeout: seconds for each command.
    :ivar environment: the environment of every command, besides PATH, LC_ALL and TZ.
    :ivar directory: where the commands are; by default along PATH.
    :ivar prefix: the words put before each command. They are not changed; those of the command are quoted for a shell.
    """

    reactor: IQueueReactor
    timeout: float
    environment: Mapping[str, str] = attrs.field(factory=dict)
    directory: str | None = None
    prefix: tuple[str, ...] = ()

    @property
    def remote(self) -> bool:
        """Whether the commands run on another host, whose files cannot be read here."""
        return bool(self.prefix)

    def run(self, name: str, *arguments: str) -> Deferred[CommandResult]:
        """Run one command; fires and fails as `run_command` does."""
        environment = {"LC_ALL": "C.UTF-8", "TZ": "UTC", **self.environment}
        if not self.prefix:
            path = find_executable(name, self.directory)
            local = {"PATH": "/usr/local/bin:/usr/bin:/bin", **environment}
            return run_command(self.reactor, [path, *arguments], local, self.timeout)
        argv = [find_executable(self.prefix[0]), *self.prefix[1:], *self.far(name, arguments, environment)]
        kept = {key: os.environ[key] for key in _KEPT_FOR_PREFIX if key in os.environ}
        # The other host ends the command by itself first.
        return run_command(self.reactor, argv, kept, self.timeout + 2.0).addCallback(_in_time, name, self.timeout)

    def far(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        """Return the words for the other host's shell; of its environment only PATH and HOME are kept."""
        path = os.path.join(self.directory, name) if self.directory else name
        quoted = [shlex.quote(f"{key}={value}") for key, value in environment.items()]
        command = [shlex.quote(word) for word in (path, *arguments)]
        return ["env", "-i", 'PATH="$PATH"', 'HOME="$HOME"', *quoted, "timeout", "-k", "1", f"{self.timeout:g}", *command]

    async def account(self) -> str:
        """
        Return the name of the account that the commands run as.

        :raise QueueError: if it cannot be found out.
        """
        if not self.prefix:
            return pwd.getpwuid(os.geteuid()).pw_name
        # ``id`` is not in the directory of the scheduler's commands.
        result = succeeded("id", await attrs.evolve(self, directory=None).run("id", "-un"))
        return result.stdout.decode("utf-8", "replace").strip()


def succeeded(name: str, result: CommandResult) -> CommandResult:
    """
    Return the result of a command that ended with status 0.

    :raise QueueError: otherwise, with the status and the first line of standard error.
    """
    if result.status != 0:
        raise QueueError(f"{name} ended with status {result.status}: {result.complaint}")
    return result


def _in_time(result: CommandResult, name: str, seconds: float) -> CommandResult:
    if result.status == _TIMED_OUT:
        raise QueueError(f"{name} did not answer within {seconds:g} s on the other host")
    return result


def first_failure(failure: Failure) -> Failure:
    """An errback for `gatherResults`: returns the failure of the command that failed, as if it had run alone."""
    failure.trap(FirstError)
    error = failure.value
    assert isinstance(error, FirstError)
    return error.subFailure
