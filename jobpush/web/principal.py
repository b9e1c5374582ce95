"""Who asks. tests/web/held/test_registry.py has what follows from it."""

from __future__ import annotations

import attrs


@attrs.frozen
class Principal:
    """
    Who asks.

    :ivar name: of the user; that of `ANONYMOUS` where the administrator said that everybody may ask.
    :ivar expires_at: the reactor's time from which on it is nobody any more; None for never.
    """

    name: str
    expires_at: float | None = None


ANONYMOUS = Principal("anonymous")
