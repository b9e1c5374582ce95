"""
How clients say who they are, chosen as Twisted does it: plugins that make authenticators, for ``--auth TYPE:key=value:…``.

Those of other distributions are found as ours are. What an authenticator is says `jobpush.web.identity.IAuthenticator`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.plugin import getPlugins
from zope.interface import Attribute, Interface

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.registry import distinct_plugins, pick_plugin


class IAuthenticatorFactory(Interface):
    """A plugin that makes authenticators of one type, for ``--auth TYPE:key=value``. It is imported by every twistd."""

    auth_type: str = Attribute("The word in ``--auth TYPE``.")
    auth_help: str = Attribute("One line on it, without a full stop, that goes on after ``TYPE is``.")
    arg_string_format: str = Attribute("The options that it takes, one a line.")

    def generate_authenticator(reactor: object, options: Mapping[str, object]) -> Any:
        """
        Return a `jobpush.web.identity.IAuthenticator`. Files may be read here, and nothing else is opened.

        If it provides Twisted's ``IService`` too, it is started and stopped with jobpush. If it has a method ``reload``, that
        is called on SIGHUP: it returns a line for the log or None, or a Deferred of that, or raises
        `jobpush.runtime.reload.CannotReload`.

        :raise BadQueueOption: if an option is unknown, missing or malformed.
        """


def authenticator_factories() -> list[IAuthenticatorFactory]:
    """Return all installed factories, sorted by type. Of two with the same type the first by module name is taken."""
    return distinct_plugins(getPlugins(IAuthenticatorFactory), "auth_type")


def make_authenticator_from_table(reactor: object, kind: str, options: Mapping[str, object]) -> Any:
    """
    Return an authenticator of that type with these options.

    :raise BadQueueOption: naming what is wrong and what was expected.
    """
    made = pick_plugin(kind, authenticator_factories(), "auth_type", "auth").generate_authenticator(reactor, options)
    missing = [name for name in ("how", "explicit", "principal") if not hasattr(made, name)]
    if missing:
        raise BadQueueOption(f"what the plugin has made is no authenticator: it has no {', '.join(missing)}")
    return made
