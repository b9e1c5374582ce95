"""The command line, the configuration file, and the plugins that they name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from jobpush import settings as config
from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.options import OptionReader
from jobpush.adapter.registry import parse_argument, queue_factories
from jobpush.settings import ConfigError
from jobpush.tap import Options, is_public, makeService
from tests.service_process import ROOT, ServiceProcess, free_ports, run_twistd, twistd_environment
from tests.slurm_cluster import wait_until


def options(*arguments: str) -> Options:
    """Parsed."""
    parsed = Options()
    parsed.parseOptions(list(arguments))
    return parsed


class OptionTests(SynchronousTestCase):
    """``twistd jobpush …``."""

    def refused(self, *arguments: str) -> str:
        """The line with which these are refused."""
        error = self.assertRaises(UsageError, options, *arguments)
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_defaults(self) -> None:
        """Port 8080 on loopback; what is found on this host, else the mock queue, said loudly."""
        self.patch(os, "environ", {**os.environ, "PATH": "/nonexistent"})
        parsed = options()
        self.assertEqual(parsed.endpoint, "tcp:8080:interface=127.0.0.1:backlog=4096")
        self.assertEqual([q.queue_type for q in parsed.queues], ["mock"])
        self.assertIn("NO SCHEDULER", parsed.found[0])

    def test_detection(self) -> None:
        """A ``squeue`` on PATH is evidence of Slurm."""
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        path = os.path.join(directory, "squeue")
        Path(path).write_text("#!/bin/sh\n")
        os.chmod(path, 0o755)
        self.patch(os, "environ", {**os.environ, "PATH": directory})
        parsed = options("--interval", "3.5")
        self.assertEqual([(q.queue_type, q.interval) for q in parsed.queues], [("slurm", 3.5)])
        self.assertIn(path, parsed.found[0])

    def test_queues(self) -> None:
        """Repeatable, with options of their own, which go before the general ones."""
        parsed = options("--queue", "slurm:cluster=alpha:interval=0.5:timeout=7:grace=9", "-q", "mock:seed=4", "-i", "2")
        alpha, mock = parsed.queues
        self.assertEqual((alpha.cluster, alpha.interval, alpha.timeout, alpha.grace), ("alpha", 0.5, 7.0, 9.0))
        self.assertEqual((mock.cluster, mock.interval), ("mock", 2.0))

    def test_bad_queues(self) -> None:
        """Each is refused with what is wrong, by name, and what was expected."""
        for argument, words in {
            "pbs2": ["pbs2", "slurm", "mock"], "slurm:colour=red": ["colour", "cluster"], "slurm:interval=soon": ["interval", "soon", "seconds"],
            "slurm:interval=-1": ["interval"], "slurm:interval=nan": ["interval"], "slurm:cluster=a/b": ["cluster", "a/b"],
            "slurm:interval": ["interval", "key=value"], "slurm:timeout=1:timeout=2": ["timeout", "twice"], "mock:seed=x": ["seed"],
            "": ["slurm"], "slurm:timeout=0": ["timeout"],
        }.items():  # fmt: skip
            line = self.refused("--queue", argument)
            for word in words:
                self.assertIn(word, line, argument)
        self.assertIn("two queues", self.refused("--queue", "mock", "--queue", "mock"))
        self.assertIn("there is no listener", self.refused("--listener", "pager"))
        self.assertIn("two listeners", self.refused("--listener", "log", "--listener", "log"))

    def test_colons_in_values(self) -> None:
        """Are escaped."""
        self.assertEqual(parse_argument("mock:file=/a\\:b\\\\c"), ("mock", {"file": "/a:b\\c"}))

    def test_public_ports(self) -> None:
        """What is not provably loopback or a unix socket needs ``--allow-anonymous``."""
        for endpoint in ("tcp:8080", "tcp:8080:interface=0.0.0.0", "tcp:8080:interface=192.0.2.7", "tcp:8080:interface=", "systemd:domain=INET:index=0"):
            self.assertTrue(is_public(endpoint), endpoint)
        for endpoint in ("tcp:8080:interface=127.0.0.1", "tcp:1:interface=127.9.9.9", "tcp6:8080:interface=\\:\\:1", "unix:/run/x"):
            self.assertFalse(is_public(endpoint), endpoint)
        self.assertIn("--allow-anonymous", self.refused("--queue", "mock", "--port", "tcp:8080:interface=0.0.0.0"))
        options("--queue", "mock", "--port", "tcp:8080:interface=0.0.0.0", "--allow-anonymous")
        options("--queue", "mock", "--port", "unix:/tmp/x.sock")

    def test_bad_values(self) -> None:
        """Each names its option."""
        for name, value in {
            "--port": "nonsense:1", "--max-held": "0", "--interval": "never", "--keep-days": "-1", "--keep-events": "many",
            "--static": "/nonexistent", "--config": "/nonexistent.toml",
        }.items():  # fmt: skip
            self.assertIn(name.lstrip("-").replace("-", "_") if name not in ("--static", "--port", "--config") else value,
                          self.refused("--queue", "mock", name, value), name)  # fmt: skip

    def test_make_service_opens_nothing(self) -> None:
        """twistd goes to the background after it: no file, no socket, no thread yet."""
        state = os.path.abspath(self.mktemp())
        before = len(os.listdir("/proc/self/fd"))
        makeService(options("--queue", "mock", "--state", state))
        self.assertFalse(os.path.exists(state))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class ConfigTests(SynchronousTestCase):
    """``--config``."""

    def write(self, text: str) -> str:
        path = os.path.abspath(self.mktemp())
        Path(path).write_text(text)
        return path

    def test_the_sample(self) -> None:
        """``etc/jobpush.toml`` loads, and means what it says."""
        parsed = options("--config", str(ROOT / "etc" / "jobpush.toml"))
        self.assertEqual([(q.queue_type, q.cluster) for q in parsed.queues], [("slurm", "alpha")])
        self.assertEqual([listener.name for listener in parsed.listeners], ["log"])
        self.assertEqual((parsed.settings.state, parsed.settings.keep_days), ("/var/lib/jobpush", 7))
        commented = [line[2:] for line in (ROOT / "etc" / "jobpush.toml").read_text().splitlines() if line.startswith("# ")]
        keys = [line.partition("=")[0].strip() for line in commented if " = " in line]
        self.assertLessEqual({"interval", "max_held", "access_log", "static", "timeout", "grace", "conf", "bin", "file"}, set(keys))

    def test_commented_settings_are_real(self) -> None:
        """The sample's commented lines load too."""
        lines = []
        for line in (ROOT / "etc" / "jobpush.toml").read_text().splitlines():
            setting = line[2:] if line.startswith("# ") and (" = " in line or line.startswith("# [[")) else line
            lines.append(setting)
        text = "\n".join(lines).replace('"/usr/share/jobpush/site"', '"/"')
        path = self.write(text)
        secret = os.open(os.path.join(os.path.dirname(path), "nudge.secret"), os.O_CREAT | os.O_WRONLY, 0o640)
        os.write(secret, b"0123456789abcdef0123456789abcdef")
        os.close(secret)
        parsed = options("--config", path)
        self.assertEqual([q.cluster for q in parsed.queues], ["alpha", "beta", "gamma", "demo"])
        self.assertEqual(len(parsed.nudge_addresses), 2)
        self.assertEqual(parsed.queues[0].interval, 2.0)

    def test_command_line_first(self) -> None:
        """What the command line says goes before the file."""
        path = self.write('port = 9999\ninterval = 5\n[[queue]]\ntype = "slurm"\n')
        parsed = options("--config", path, "--port", "1234", "--queue", "mock")
        self.assertEqual((parsed.endpoint, [q.queue_type for q in parsed.queues]), ("tcp:1234:interface=127.0.0.1:backlog=4096", ["mock"]))
        self.assertEqual(parsed.queues[0].interval, 5.0)

    def test_refused(self) -> None:
        """Unknown keys, wrong kinds, and files that are not TOML are named."""
        for text, word in {
            "prot = 8080": "prot", 'interval = "2"': "interval", "allow_anonymous = 1": "allow_anonymous", "port = [": "Invalid value",
            "queue = 5": "[[queue]]", "[[queue]]\ncluster = 'x'": "type", "max_held = true": "max_held",
        }.items():  # fmt: skip
            error = self.assertRaises(ConfigError, config.load, self.write(text))
            self.assertIn(word, str(error))
        for text, word in {
            '[[queue]]\ntype = "slurm"\ncolour = "red"': "colour", '[[queue]]\ntype = "slurm"\ninterval = true': "interval",
            '[[queue]]\ntype = "nqs"': "nqs", "max_held = 0": "max_held", "keep_events = -5": "keep_events", "interval = -1.5": "interval",
            "keep_days = nan": "keep_days",
        }.items():  # fmt: skip
            error = self.assertRaises(UsageError, options, "--config", self.write(text))
            self.assertIn(word, str(error))

    def test_relative_paths(self) -> None:
        """Are relative to the file."""
        path = self.write('state = "here"\n')
        self.assertEqual(config.load(path).state, os.path.join(os.path.dirname(path), "here"))


class OptionReaderTests(SynchronousTestCase):
    """`OptionReader`."""

    def test_text_and_toml_alike(self) -> None:
        """``"2.5"`` from the command line and ``2.5`` from a file are the same."""
        for value in ("2.5", 2.5):
            self.assertEqual(OptionReader({"interval": value}).seconds("interval", None), 2.5)
        for value in ("7", 7):
            self.assertEqual(OptionReader({"seed": value}).integer("seed", 1), 7)

    def test_left_over(self) -> None:
        """What nobody asked for is refused by name, with what is known."""
        reader = OptionReader({"a": "1", "b": "2"})
        reader.text("a")
        error = self.assertRaises(BadQueueOption, reader.finish)
        self.assertIn("'b'", str(error))


class TwistdTests(SynchronousTestCase):
    """twistd itself, as its own process."""

    def setUp(self) -> None:
        self.directory = Path(os.path.abspath(self.mktemp()))
        self.directory.mkdir()

    def test_help(self) -> None:
        """jobpush is listed, from any directory."""
        self.assertIn("jobpush", run_twistd("--help", cwd=self.directory).stdout)
        for arguments, word in (
            (["--help"], "--queue"), (["--help-queues"], "slurm"), (["--help-queue-type", "slurm"], "conf=PATH"), (["--version"], "jobpush 0"),
        ):  # fmt: skip
            result = run_twistd("jobpush", *arguments, cwd=self.directory)
            self.assertEqual((result.returncode, word in result.stdout), (0, True), (arguments, result.stderr))

    def failure(self, *arguments: str) -> str:
        """The one line with which it ends, with a status that is not 0."""
        result = run_twistd("--nodaemon", "--pidfile=", "--logfile=log", "jobpush", "--queue", "mock", *arguments, cwd=self.directory)
        self.assertNotEqual(result.returncode, 0, result.stdout)
        self.assertNotIn("Traceback", result.stderr + result.stdout)
        lines = [line for line in (result.stderr + result.stdout).splitlines() if line.startswith("jobpush: ")]
        self.assertEqual(len(lines), 1, result.stderr)
        return lines[0]

    def test_busy_port(self) -> None:
        """One line."""
        import socket

        with socket.create_server(("127.0.0.1", 0)) as busy:
            line = self.failure("--port", str(busy.getsockname()[1]))
        self.assertIn("cannot listen", line)

    def test_unwritable_state(self) -> None:
        """One line, and nothing is half started."""
        (self.directory / "file").write_text("x")
        line = self.failure("--port", str(free_ports(1)[0]), "--state", str(self.directory / "file" / "state"))
        self.assertIn("state directory", line)

    def test_in_the_background(self) -> None:
        """twistd without ``--nodaemon``: it serves; and one that cannot start says why, with a status that is not 0."""
        port = free_ports(1)[0]
        arguments = ["jobpush", "--queue", "mock", "--port", str(port), "--state", "state"]
        started = run_twistd("--pidfile=one.pid", "--logfile=one.log", *arguments, cwd=self.directory)
        self.assertEqual(started.returncode, 0, started.stderr)
        pidfile = self.directory / "one.pid"
        self.addCleanup(lambda: os.kill(int(pidfile.read_text()), signal.SIGTERM))
        service = ServiceProcess(self.directory)
        service.port = port
        self.assertEqual(service.get("/healthz").status, 200)
        self.assertTrue(service.get("/v1/changes?since=0&wait=10").json["events"], "its journal's threads work after the fork")
        for number, expected in ((port, "cannot listen"), (free_ports(1)[0], "in use by another jobpush")):
            arguments[4] = str(number)
            result = run_twistd("--pidfile=two.pid", "--logfile=two.log", *arguments, cwd=self.directory)
            self.assertEqual(result.returncode, 1)
            self.assertIn("CannotStart", result.stdout + result.stderr)
            self.assertIn(expected, (self.directory / "two.log").read_text(), "twistd cuts the line after 100 bytes")
            # twistd's background process removes its file after it has told the one in the foreground
            wait_until(lambda: not (self.directory / "two.pid").exists(), 10)

    def test_unknown_adapter(self) -> None:
        """One line of usage, status 1."""
        result = run_twistd("--nodaemon", "jobpush", "--queue", "nqs", cwd=self.directory)
        self.assertEqual(result.returncode, 1)
        self.assertIn("there is no queue type 'nqs'", result.stdout + result.stderr)
        self.assertNotIn("Traceback", result.stdout + result.stderr)


THIRD_PARTY = '''
from twisted.plugin import IPlugin
from zope.interface import implementer
from jobpush.adapter.interfaces import IBatchQueueFactory

@implementer(IPlugin, IBatchQueueFactory)
class LsfFactory:
    queue_type = "lsf"
    queue_help = "somebody else's scheduler"
    arg_string_format = "cluster=NAME: its name"

    def generate_queue(self, reactor, options):
        from jobpush.adapter.options import OptionReader
        from jobpush.adapter.testing import MemoryQueue
        reader = OptionReader(options)
        queue = MemoryQueue(reactor, cluster=reader.cluster("lsf"))
        reader.finish()
        queue.set("42", "RUNNING")
        return queue

    def detect(self):
        return None

lsf = LsfFactory()
'''


class ThirdPartyTests(SynchronousTestCase):
    """An adapter in another distribution works as those that come with jobpush."""

    def test_found(self) -> None:
        """twistd lists it, and serves its jobs."""
        directory = Path(os.path.abspath(self.mktemp()))
        plugins = directory / "site" / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "lsf_dropin.py").write_text(THIRD_PARTY)
        environment = twistd_environment(None)
        environment["PYTHONPATH"] += os.pathsep + str(directory / "site")
        result = subprocess.run(
            [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "jobpush", "--help-queues"],
            env=environment, capture_output=True, text=True, timeout=60, cwd=directory, check=False,
        )  # fmt: skip
        self.assertIn("somebody else's scheduler", result.stdout, result.stderr)
        service = ServiceProcess(directory / "run", "--queue", "lsf:cluster=theirs", environment={"PYTHONPATH": environment["PYTHONPATH"]})
        service.start()
        try:
            self.assertEqual(service.job("theirs", "42", wait=5)["job"]["state"], "RUNNING")
        finally:
            service.stop()

    def test_our_own_are_found_the_same_way(self) -> None:
        """Through the same plugins."""
        self.assertEqual([f.queue_type for f in queue_factories()], ["mock", "pbs", "sge", "slurm"])
