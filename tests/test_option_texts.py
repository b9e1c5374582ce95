"""The sample file and the reference page, which are made from the declarations of the options."""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from jobpush import option_texts
from jobpush.adapter.interfaces import IBatchQueueFactory
from jobpush.adapter.options import declared
from jobpush.adapter.registry import queue_factories
from jobpush.setting import Place
from jobpush.settings import settings_at
from jobpush.tap import Options
from tests.service_process import ROOT


@implementer(IPlugin, IBatchQueueFactory)
class ForeignFactory:
    """A factory of another distribution, which tells of its options in a text only."""

    queue_type = "lsf"
    queue_help = "somebody else's scheduler"
    arg_string_format = "cluster=NAME: its name\nhosts=NAMES: where it runs"


def options(*arguments: str) -> Options:
    """Parsed."""
    parsed = Options()
    parsed.parseOptions(list(arguments))
    return parsed


class SampleTests(SynchronousTestCase):
    """``etc/jobpush.toml``."""

    def write(self, text: str) -> str:
        path = os.path.abspath(self.mktemp())
        Path(path).write_text(text)
        return path

    def test_up_to_date(self) -> None:
        """The file is what the declarations make: python -m jobpush.option_texts sample slurm log > etc/jobpush.toml."""
        self.assertEqual((ROOT / "etc" / "jobpush.toml").read_text(), option_texts.sample(("slurm", "log")))

    def test_means_what_it_says(self) -> None:
        """It loads, and its settings are the defaults, with a state directory."""
        parsed = options("--config", str(ROOT / "etc" / "jobpush.toml"))
        self.assertEqual([(q.queue_type, q.cluster) for q in parsed.queues], [("slurm", "alpha")])
        self.assertEqual([listener.name for listener in parsed.listeners], ["log"])
        self.assertEqual((parsed.settings.state, parsed.settings.keep_days), ("/var/lib/jobpush", 7))
        commented = [line[2:] for line in (ROOT / "etc" / "jobpush.toml").read_text().splitlines() if line.startswith("# ")]
        keys = [line.partition("=")[0].strip() for line in commented if " = " in line]
        self.assertLessEqual({"interval", "max_held", "access_log", "static", "timeout", "grace", "conf", "bin", "file"}, set(keys))

    def test_commented_settings_are_real(self) -> None:
        """Its commented lines load too."""
        lines = []
        for line in (ROOT / "etc" / "jobpush.toml").read_text().splitlines():
            setting = line[2:] if line.startswith("# ") and (" = " in line or line.startswith("# [[")) else line
            lines.append(setting)
        text = "\n".join(lines).partition("[[auth]]")[0].replace('"/usr/share/jobpush/site"', '"/"')
        path = self.write(text)
        secret = os.open(os.path.join(os.path.dirname(path), "nudge.secret"), os.O_CREAT | os.O_WRONLY, 0o640)
        os.write(secret, b"0123456789abcdef0123456789abcdef")
        os.close(secret)
        parsed = options("--config", path)
        self.assertEqual({q.cluster for q in parsed.queues}, {"alpha", "beta", "gamma", "demo"})
        self.assertEqual(len(parsed.nudge_addresses), 2)
        self.assertEqual(parsed.queues[0].interval, 2.0)

    def test_every_option(self) -> None:
        """Every key of the file and every declared option of a queue stands in it."""
        text = option_texts.sample()
        for item in settings_at(Place.FILE):
            self.assertRegex(text, rf"(?m)^#? ?{re.escape(item.key if item.is_table else f'{item.name} = ')}")
        for factory in queue_factories():
            table = text.partition(f'type = "{factory.queue_type}"')[2].partition("[[")[0]
            for option in declared(factory.options_class):
                self.assertRegex(table, rf"(?m)^# {option.name} = ")

    def test_nothing_active(self) -> None:
        """Without an active type all tables are comments, so that the schedulers of the host are found."""
        self.assertNotRegex(option_texts.sample(), r"(?m)^\[\[")

    def test_other_distributions(self) -> None:
        """A type that declares no class of options has a table with its type, which loads when the marks are taken off."""
        self.patch(option_texts, "queue_factories", lambda: [ForeignFactory()])
        self.assertIn('\n# [[queue]]\n# type = "lsf"', option_texts.sample())
        self.assertIn('\n[[queue]]\ntype = "lsf"', option_texts.sample(("lsf",)))
        self.assertIn("hosts=NAMES: where it runs", option_texts.reference())


class ReferenceTests(SynchronousTestCase):
    """``docs/options.md``."""

    def test_up_to_date(self) -> None:
        """The page is what the declarations make: python -m jobpush.option_texts reference > docs/options.md."""
        self.assertEqual((ROOT / "docs" / "options.md").read_text(), option_texts.reference())

    def test_every_option(self) -> None:
        """Every option of the service and of the adapters stands in it."""
        text = option_texts.reference()
        for item in settings_at(Place.BOTH):
            self.assertIn(f"\n### {item.name}\n", text)
        for item in settings_at(Place.COMMAND_LINE):
            self.assertIn(f"`--{item.switch}", text)
        for factory in queue_factories():
            section = text.partition(f"\n### {factory.queue_type}\n")[2].partition("\n#")[0]
            for option in declared(factory.options_class):
                self.assertIn(f"\n- `{option.name}={option.kind.placeholder}`: ", section)


class MainTests(SynchronousTestCase):
    """``python -m jobpush.option_texts``."""

    def test_writes_either(self) -> None:
        """It writes the text that it is asked for, and nothing else."""
        for arguments, text in ((["sample", "log"], option_texts.sample(("log",))), (["reference"], option_texts.reference())):
            with redirect_stdout(io.StringIO()) as out:
                self.assertEqual(option_texts.main(arguments), 0)
            self.assertEqual(out.getvalue(), text)

    def test_usage(self) -> None:
        """Anything else is a usage error."""
        for arguments in ([], ["page"]):
            with redirect_stderr(io.StringIO()) as err:
                self.assertEqual(option_texts.main(arguments), 2)
            self.assertIn("usage", err.getvalue())
