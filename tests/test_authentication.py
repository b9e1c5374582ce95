"""Ways in which clients say who they are, as plugins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from jobpush import authentication
from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.options import OptionReader
from jobpush.authentication import authenticator_factories, make_authenticator_from_table
from jobpush.tap import Options
from tests.service_process import ServiceProcess, twistd_environment

#: In a distribution of its own: whoever sends ``X-Badge: NAME PIN`` is that one.
THIRD_PARTY = '''
from twisted.plugin import IPlugin
from zope.interface import implementer
from jobpush.authentication import IAuthenticatorFactory

@implementer(IPlugin, IAuthenticatorFactory)
class BadgeFactory:
    auth_type = "badge"
    auth_help = "somebody else's badges"
    arg_string_format = "pin=TEXT: what is on all of them"

    def generate_authenticator(self, reactor, options):
        from jobpush.adapter.options import OptionReader
        from twisted.application.service import Service
        from twisted.internet.defer import fail, succeed
        from twisted.logger import Logger
        from jobpush.web.identity import IAuthenticator
        from jobpush.web.principal import Principal
        from jobpush.web.problems import who_are_you
        reader = OptionReader(options)
        pin = reader.text("pin", "0")
        reader.finish()

        @implementer(IAuthenticator)
        class Badges(Service):
            how = "show a badge"
            explicit = True

            def principal(self, request):
                text = request.getHeader(b"x-badge")
                if text is None:
                    return succeed(None)
                name, _, shown = text.decode().partition(" ")
                if shown != pin or not self.running:
                    return fail(who_are_you("that badge is none"))
                return succeed(Principal(name))

            def reload(self):
                return "badges were read again"

        return Badges()

badge = BadgeFactory()
'''


class Factory:
    """One of that type."""

    auth_type = "one"
    auth_help = "a test"
    arg_string_format = "key=TEXT: nothing"

    def __init__(self, made: Any) -> None:
        self.made = made

    def generate_authenticator(self, reactor: object, options: Mapping[str, object]) -> Any:
        OptionReader(options).finish()
        return self.made


class FactoryTests(SynchronousTestCase):
    """From text and tables to authenticators."""

    def test_made(self) -> None:
        """By the plugin of that type; one that is not there is refused with those that are, as is what is no authenticator."""
        made = type("Made", (), {"how": "", "explicit": True, "principal": None})()
        self.patch(authentication, "getPlugins", lambda interface: [Factory(made)])
        self.assertEqual([factory.auth_type for factory in authenticator_factories()], ["one"])
        self.assertIs(make_authenticator_from_table(None, "one", {}), made)
        error = self.assertRaises(BadQueueOption, make_authenticator_from_table, None, "two", {})
        self.assertIn("no auth type 'two'; installed are: one", str(error))
        self.patch(authentication, "getPlugins", lambda interface: [Factory(object())])
        error = self.assertRaises(BadQueueOption, make_authenticator_from_table, None, "one", {})
        self.assertIn("it has no how, explicit, principal", str(error))

    def test_errors(self) -> None:
        """Each names where it was given."""
        for text, words in {"nothing": "no auth type 'nothing'", "": "no auth type ''"}.items():
            error = self.assertRaises(UsageError, Options().parseOptions, ["--queue", "mock", "--auth", text])
            self.assertIn("--auth", str(error))
            self.assertIn(words, str(error))

    def test_a_file(self) -> None:
        """Each table of ``[[auth]]`` is one."""
        self.patch(authentication, "getPlugins", lambda interface: [Factory(type("Made", (), {"how": "", "explicit": True, "principal": None})())])
        path = os.path.abspath(self.mktemp())
        Path(path).write_text('[[queue]]\ntype = "mock"\n[[auth]]\ntype = "one"\n')
        parsed = Options()
        parsed.parseOptions(["--config", path])
        self.assertEqual([kind for kind, _ in parsed.authenticators], ["one"])
        self.assertTrue(parsed.knows_users)
        Path(path).write_text('[[queue]]\ntype = "mock"\n[[auth]]\ntype = "one"\ncolour = 1\n')
        error = self.assertRaises(UsageError, Options().parseOptions, ["--config", path])
        self.assertIn("[[auth]] 1 (one): unknown option 'colour'", str(error))


class ThirdPartyTests(SynchronousTestCase):
    """A way of another distribution works as those that come with jobpush."""

    def test_found(self) -> None:
        """twistd lists it with its options, and jobpush asks it; it is started, and read again on SIGHUP."""
        directory = Path(os.path.abspath(self.mktemp()))
        plugins = directory / "site" / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "badge_dropin.py").write_text(THIRD_PARTY)
        environment = twistd_environment(None)
        environment["PYTHONPATH"] += os.pathsep + str(directory / "site")
        for arguments, words in ((["--help-auth"], "somebody else's badges"), (["--help-auth-type", "badge"], "pin=TEXT")):
            result = subprocess.run(
                [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "jobpush", *arguments],
                env=environment, capture_output=True, text=True, timeout=60, cwd=directory, check=False,
            )  # fmt: skip
            self.assertIn(words, result.stdout, result.stderr)
        service = ServiceProcess(
            directory / "run", "--queue", "mock", "--private", "yes", "--auth", "badge:pin=7",
            environment={"PYTHONPATH": environment["PYTHONPATH"]},
        )  # fmt: skip
        service.start()
        try:
            statuses = [service.get("/v1/jobs", headers=headers).status for headers in ({}, {"X-Badge": "kim 7"}, {"X-Badge": "kim 8"})]
            self.assertEqual(statuses, [401, 200, 401])
            self.assertIn("show a badge", service.get("/v1/jobs").json["detail"])
        finally:
            service.stop()
