"""
Asks slurmctld several times a second whether anything has changed. To answer "no" costs it a hundredth of a ``squeue``.

The answer decides when ``squeue`` is run, never what a job's state is. libslurm is called in a helper process
(`jobpush_adapters.slurm.probe_helper`); if that crashes or hangs, the queue is polled as without it. docs/freshness.md has its
costs and what is gained.
"""

from __future__ import annotations

import glob
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.adapter.command import CommandFailed, find_executable, printable, start_process
from jobpush.adapter.interfaces import IQueueReactor
from jobpush.adapter.load import LoadBudget, UsualCost
from jobpush_adapters.slurm import probe_helper as slurm_probe_helper

#: Seconds from one question to the next, and until a helper that does not answer is ended. (libslurm waits MessageTimeout, ten
#: seconds, for a controller that does not answer, and tries again.)
PROBE_S = 0.15
ANSWER_TIMEOUT_S = 15.0

#: Seconds until the next question to a controller that does not answer or refuses, and between two nudges while asking is
#: of no use.
RETRY_S = 2.0

#: The controller's clock counts whole seconds: what changes later in the second of its answer may not be in the ``squeue`` that
#: follows, and is not reported afterwards. So there is another nudge, so many seconds after the answer, when that second is
#: over; and some before it, if an answer that lists all jobs came within `CHEAP_S` seconds.
AFTER_S = (1.1,)
AFTER_CHEAP_S = (0.15, 0.4, 1.1)
CHEAP_S = 0.02

#: If more than half of the last `REMEMBERED` answers are "changed", nothing is asked for `OFF_S` seconds, and for twice as long
#: each time that is so again, up to `LONGEST_OFF_S`. Where answers take longer than `CHEAP_S`, the last `FEW` decide.
REMEMBERED = 20
FEW = 6
OFF_S = 60.0
LONGEST_OFF_S = 960.0

#: Seconds until a helper that has ended is started again; twice as many each time, up to `LONGEST_RESTART_S`.
RESTART_S = 10.0
LONGEST_RESTART_S = 300.0

#: The directories of libslurm beside ``bin``: as Slurm installs it, and in Debian.
_PLACES = ("lib*/slurm", "lib*/slurm-wlm", "lib/*/slurm", "lib/*/slurm-wlm")


def find_library(directory: str | None) -> str | None:
    """
    Return the path of libslurm as Slurm's own commands use it, with the plugins' symbols in it; None if there is none.

    :param directory: where the commands are; by default along PATH.
    """
    try:
        squeue = os.path.realpath(find_executable("squeue", directory))
    except CommandFailed:
        return None
    for base in (os.path.dirname(os.path.dirname(squeue)), "/usr"):
        for place in _PLACES:
            found = sorted(glob.glob(os.path.join(glob.escape(base), place, "libslurmfull.so")))
            if found:
                return found[0]
    return None


class SlurmProbe:
    """
    :param library: the path of libslurm.
    Nudges when a job has changed.

    :param environment: the helper's: ``SLURM_CONF``, if it is not Slurm's default.
    :param changed: called on the reactor's thread when a job has changed, or may have.
    :param untested: whether to use a version of libslurm that was not tested, as the user has asked for.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IQueueReactor,
        library: str,
        environment: Mapping[str, str],
        changed: Callable[[], None],
        untested: bool = False,
    ) -> None:
        self._reactor = reactor
        self._wanted = untested
        self._argv = [sys.executable, "-I", "-S", slurm_probe_helper.__file__, library, *(["any"] if untested else [])]
        self._environment = dict(environment)
        self._changed = changed
        self._helper: _Helper | None = None
        self._timer: IDelayedCall | None = None
        self._after: list[IDelayedCall] = []
        self._answers: deque[bool] = deque(maxlen=REMEMBERED)
        self._budget = LoadBudget()
        self._usual = UsualCost()
        #: How many questions the helper was asked.
        self.asked = 0
        self._off_s = OFF_S
        self._since = 0
        self._asked_at = 0.0
        self._ended_in_row = 0
        self._stopping = False

    def start(self) -> None:
        """Start the helper. It is asked once it has said its version."""
        self._timer = None
        self._helper = _Helper(self._answered, self._ended)
        self._wait(ANSWER_TIMEOUT_S, self._hung)
        try:
            start_process(self._reactor, self._helper, self._argv, self._environment)
        except OSError as error:
            self._ended(str(error))

    def stop(self) -> Deferred[None]:
        """Stop asking. Fires when the helper has ended."""
        self._stopping = True
        helper, self._helper = self._helper, None
        for timer in (self._timer, *self._after):
            if timer is not None and timer.active():
                timer.cancel()
        if helper is None or helper.transport is None:
            return succeed(None)
        helper.kill()
        return helper.gone

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(seconds, then)

    def _ask(self) -> None:
        if self._helper is not None:
            self._asked_at = self._reactor.seconds()
            self.asked += 1
            self._helper.ask(self._since)
            self._wait(ANSWER_TIMEOUT_S, self._hung)

    def _hung(self) -> None:
        """End a helper that does not answer; `_ended` is called when it has ended."""
        if self._helper is not None:
            self._helper.complaint = f"no answer within {ANSWER_TIMEOUT_S:g} s"
            self._helper.kill()

    def _answered(self, word: str, number: int) -> None:
        if self._stopping:
            return
        now = self._reactor.seconds()
        if word == "library":
            self.log.info(
                "slurmctld is asked every {s:g} s whether anything has changed (libslurm {version})", s=PROBE_S, version=number
            )
        else:
            self._ended_in_row = 0
            # An answer "changed" lists all jobs, the others nothing.
            self._budget.spend(self._usual.charge(int(word == "changed"), now - self._asked_at), now)
        if word == "error":
            # The controller does not answer, or refuses: squeue, which is run as ever, says more.
            self._wait(RETRY_S, self._ask)
            return
        if word == "changed":
            self._since = number + 1
            self._tell()
            self._tell_again(AFTER_CHEAP_S if now - self._asked_at < CHEAP_S else AFTER_S)
        elif word == "same":
            self._off_s = OFF_S
        if word != "library":
            self._answers.append(word == "changed")
        if self._is_of_no_use(word == "changed" and now - self._asked_at >= CHEAP_S):
            self._answers.clear()
            off, self._off_s = self._off_s, min(2 * self._off_s, LONGEST_OFF_S)
            self._poll(now + off)
        else:
            self._wait(max(PROBE_S, self._budget.wait(now)), self._ask)

    def _is_of_no_use(self, dear: bool) -> bool:
        """Return whether most of the last answers are "changed"."""
        last = list(self._answers)[-(FEW if dear else REMEMBERED) :]
        return len(last) == (FEW if dear else REMEMBERED) and 2 * sum(last) > len(last)

    def _tell(self) -> None:
        if not self._stopping:
            self._changed()

    def _tell_again(self, pauses: Sequence[float]) -> None:
        """Nudge later for what changes in the second of the controller's answer."""
        for timer in self._after:
            if timer.active():
                timer.cancel()
        self._after = [self._reactor.callLater(pause, self._tell) for pause in pauses]

    def _poll(self, until: float) -> None:
        """Nudge every `RETRY_S` seconds until that time, then ask again: jobs change all the time."""
        if self._reactor.seconds() >= until:
            self._ask()
        else:
            self._tell()
            self._wait(RETRY_S, lambda: self._poll(until))

    def _ended(self, why: str) -> None:
        """Start another helper later. Nudges that are due stay due: the next helper may not report the same change."""
        if self._stopping:
            return
        self._helper = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if not self._since:  # it never worked
            tell = self.log.warn if self._wanted else self.log.info
            tell("no probe of slurmctld: {why}", why=why)
            return
        pause = min(LONGEST_RESTART_S, RESTART_S * 2.0 ** min(self._ended_in_row, 10))
        self._ended_in_row += 1
        self.log.warn("the probe of slurmctld ended: {why}; another one in {s:g} s", why=why, s=pause)
        self._tell()
        self._wait(pause, self.start)


class _Helper(ProcessProtocol):
    """One helper process."""

    def __init__(self, answered: Callable[[str, int], None], ended: Callable[[str], None]) -> None:
        self.gone: Deferred[None] = Deferred()
        self.complaint = ""
        self._answered = answered
        self._ended = ended
        self._rest = b""
        self._said = b""

    def ask(self, since: int) -> None:
        assert self.transport is not None
        self.transport.write(b"%d\n" % since)

    def kill(self) -> None:
        """End it with KILL: it has nothing to tidy up."""
        try:
            if self.transport is not None:
                self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, number = line.decode("ascii", "replace").partition(" ")
            if word in ("library", "same", "changed", "error") and (not number or number.isdigit()):
                self._answered(word, int(number or 0))

    def errReceived(self, data: bytes) -> None:
        self._said = (self._said + data)[-1000:]

    def processEnded(self, reason: Failure) -> None:
        said = self._said.decode("utf-8", "replace").strip().splitlines()
        self._ended(self.complaint or (printable(said[-1]) if said else str(reason.value)))
        self.gone.callback(None)
