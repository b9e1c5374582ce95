"""Who asks. tests/web/test_access.py and tests/web/held/test_registry.py have what follows from it."""

from __future__ import annotations

import enum
import re

import attrs

#: Names that users have: those of this host, of a directory server, with a domain.
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@+\\-]{0,254}\$?")


def is_user_name(text: str) -> bool:
    """Return whether a user may have that name."""
    return _USER.fullmatch(text) is not None


class Role(enum.Enum):
    """What a principal may see and do beyond its own jobs. Roles come from the configuration alone."""

    OPERATOR = "operator"
    ADMIN = "admin"


class Scope(enum.Enum):
    """What a credential is for."""

    READ = "read"
    WATCH = "watch"
    NUDGE = "nudge"
    WORKFLOW = "workflow"
    METRICS = "metrics"


#: Everything that a credential without restrictions is for.
EVERY_SCOPE = frozenset(Scope)


@attrs.frozen
class Principal:
    """
    Who asks.

    :ivar name: of the user; empty for who says nothing of himself (`ANONYMOUS`).
    :ivar expires_at: the reactor's time from which on it is nobody any more; None for never.
    :ivar roles: beyond those of every user.
    :ivar scopes: what it may do.
    :ivar credential: what it was known by, of which there may be several; it can be revoked. Never the secret.
    """

    name: str
    expires_at: float | None = None
    roles: frozenset[Role] = frozenset()
    scopes: frozenset[Scope] = EVERY_SCOPE
    credential: str = ""

    @property
    def is_anonymous(self) -> bool:
        """Whether it has not said who it is."""
        return not self.name

    @property
    def sees_all(self) -> bool:
        """Whether it may see everybody's jobs, whatever the scheduler hides."""
        return bool(self.roles)


#: Who says nothing of himself.
ANONYMOUS = Principal("")
