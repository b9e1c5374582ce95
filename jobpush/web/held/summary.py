"""
What is remembered of a request whose HTTP channel is gone: for the access log, and for reading the next request on the
connection.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime

from jobpush.web.access_log import AccessLog
from jobpush.web.departures import Departures
from jobpush.web.principal import Principal

#: Of how many different requests, and of how many header blocks, one is kept to be shared by those that are alike; and the most
#: characters that one may have in the access log: longer ones are not shared, so that the kept ones take little memory.
MOST_SUMMARIES = 256
MOST_BLOCKS = 4096
LONGEST_SHARED = 1000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SiteLike(Protocol):
    """
    What a connection without a channel needs of its site.

    :ivar departures: what ends connections whose clients do not read.
    :ivar reactor: whose time says how long requests took.
    :ivar timeOut: seconds after which a connection ends on which nothing is asked.
    """

    access_log: AccessLog
    departures: Departures
    reactor: IReactorTime
    timeOut: float | None

    def make_channel(self, addr: IAddress | None) -> IProtocol:
        """Make a channel, for a connection that is there already."""


class HeaderBlock:
    """
    The headers of a request that passed every check, with what was found in them. The next request on the same connection that
    has the same bytes there is asked by the same principal, and passes too.

    :ivar raw: what followed the request line, as bytes; empty if it was not kept: then the next request is read anew.
    :ivar words: what the client says of itself, as the access log has it.
    :ivar epoch: header blocks of an earlier epoch are forgotten (see `Summaries.forget_header_blocks`).
    """

    __slots__ = ("epoch", "principal", "raw", "site", "words")

    def __init__(self, raw: bytes, words: str, principal: Principal, site: SiteLike, epoch: int) -> None:
        self.raw = raw
        self.words = words
        self.principal = principal
        self.site = site
        self.epoch = epoch


class Summary:
    """
    One request, or many that are alike.

    :ivar line: the request line, as the access log has it.
    :ivar address: of the client.
    """

    __slots__ = ("address", "block", "line")

    def __init__(self, line: str, address: str, block: HeaderBlock) -> None:
        self.line = line
        self.address = address
        self.block = block


class Summaries:
    """
    Makes summaries, the same for requests that are alike.

    :ivar epoch: the epoch of header blocks that can be used.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._blocks: _Shared[tuple[bytes, str, Principal, int], HeaderBlock] = _Shared(MOST_BLOCKS)
        self._summaries: _Shared[tuple[str, str, int], Summary] = _Shared(MOST_SUMMARIES)
        self._moment = 0.0

    def block(self, raw: bytes, words: str, principal: Principal, site: SiteLike) -> HeaderBlock:
        """Return the block of these headers."""
        epoch = self.epoch

        def make() -> HeaderBlock:
            return HeaderBlock(raw, words, principal, site, epoch)

        return self._blocks.get((raw, words, principal, id(site)), make) if len(words) <= LONGEST_SHARED else make()

    def summary(self, line: str, address: str, block: HeaderBlock) -> Summary:
        """Return the summary of a request."""

        def make() -> Summary:
            return Summary(line, address, block)

        return self._summaries.get((line, address, id(block)), make) if len(line) <= LONGEST_SHARED else make()

    def forget_header_blocks(self) -> None:
        """Read every next request anew, on all connections: who may ask, or see what, has changed."""
        self.epoch += 1
        self._blocks.clear()
        self._summaries.clear()

    def usable(self, block: HeaderBlock, now: float) -> bool:
        """
        Return whether the next request may be compared with this block.

        :param now: the reactor's time; a block is of no use when its principal has expired.
        """
        expires_at = block.principal.expires_at
        return bool(block.raw) and block.epoch == self.epoch and (expires_at is None or now < expires_at)

    def moment(self, seconds: float) -> float:
        """Return that time to a millisecond: the same object for all requests in it."""
        if not 0.0 <= seconds - self._moment < 0.001:
            self._moment = seconds
        return self._moment


class _Shared(Generic[K, V]):
    """The values that were made last, by what they are made of. Those that are held elsewhere too stay what they are."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[K, V] = {}

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value for this key."""
        value = self._values.get(key)
        if value is None:
            if len(self._values) >= self._most:
                self._values.clear()
            value = self._values[key] = make()
        return value

    def clear(self) -> None:
        """Forget them."""
        self._values.clear()
