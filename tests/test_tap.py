"""What the options make: the queues, the listeners, the service, and how it fails at its start."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest import mock as mock_module

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from jobpush import command_line
from jobpush.adapter import registry
from jobpush.adapter.interfaces import IBatchQueueService, QueueError
from jobpush.adapter.options import OptionReader
from jobpush.adapter.registry import parse_argument, queue_factories
from jobpush.adapter.testing import MemoryQueue
from jobpush.listen_addresses import Nowhere, UnixSocket
from jobpush.runtime.listening import InheritedSocket
from jobpush.settings import ConfigError
from jobpush.tap import Options, is_public, makeService
from tests.service_process import ServiceProcess, free_ports, run_twistd, twistd_environment
from tests.slurm_cluster import wait_until


def answers(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def options(*arguments: str) -> Options:
    """Parsed."""
    parsed = Options()
    parsed.parseOptions(list(arguments))
    return parsed


class PlainFactory:
    """Makes queues that have no options."""

    queue_type = "plain"

    def generate_queue(self, reactor: object, options: Mapping[str, object]) -> IBatchQueueService:
        OptionReader(options).finish()
        return MemoryQueue(reactor)


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
        self.assertEqual(parsed.endpoints[0], "tcp:8080:interface=127.0.0.1:backlog=4096")
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
            for word in (f"--queue {argument}", *words):
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

    def test_sockets_that_were_handed_over(self) -> None:
        """They are listened on where no port is given; one that others can reach needs ``--allow-anonymous``."""
        ours = (InheritedSocket("systemd:domain=INET:index=0", "127.0.0.1:99", False), InheritedSocket("systemd:domain=UNIX:index=1", "/run/x", False))
        theirs = InheritedSocket("systemd:domain=INET6:index=2", "[::]:99", True)
        self.patch(command_line, "serverFromString", lambda reactor, text: None)
        self.patch(command_line, "inherited_sockets", lambda reactor: ours)
        parsed = options("--queue", "mock")
        self.assertEqual(parsed.endpoints, ["systemd:domain=INET:index=0", "systemd:domain=UNIX:index=1"])
        self.assertEqual((parsed.listens_on, parsed.served), ("127.0.0.1:99, /run/x", ours))
        self.assertEqual(parsed.where_it_listens(), "the socket 127.0.0.1:99, /run/x that was handed over")
        chosen = options("--queue", "mock", "--port", "1234")
        self.assertEqual((chosen.listens_on, chosen.served), ("tcp:1234:interface=127.0.0.1:backlog=4096", ()))
        self.patch(command_line, "inherited_sockets", lambda reactor: (*ours, theirs))
        line = self.refused("--queue", "mock")
        self.assertTrue(line.startswith("the socket [::]:99 that was handed over is not provably loopback"), line)
        self.assertEqual(len(options("--queue", "mock", "--allow-anonymous").endpoints), 3)

    def test_where_users_are_known(self) -> None:
        """On a unix socket: one that was handed over, the port if it is one, or one in the runtime directory, but where none is wanted."""
        mock = ("--queue", "mock")
        tcp, unix = InheritedSocket("systemd:domain=INET:index=0", "127.0.0.1:99", False), InheritedSocket("systemd:domain=UNIX:index=1", "/x", False)
        self.patch(command_line, "serverFromString", lambda reactor, text: None)
        for directory, inherited, words, address, knows in [
            (None, (), (), Nowhere(), False),
            ("/run/jobpush", (), (), UnixSocket("/run/jobpush/jobpush.sock", 0o666), True),
            ("/run/jobpush", (), ("--socket", "none"), Nowhere(), False),
            (None, (), ("--socket", "unix:/x:mode=660"), UnixSocket("/x", 0o660), True),
            (None, (), ("--socket", "unix:/x"), UnixSocket("/x", 0o666), True),
            ("/run/jobpush", (tcp,), (), UnixSocket("/run/jobpush/jobpush.sock", 0o666), True),
            ("/run/jobpush", (tcp, unix), (), Nowhere(), True),
            ("/run/jobpush", (tcp, unix), ("--port", "80"), UnixSocket("/run/jobpush/jobpush.sock", 0o666), True),
            (None, (unix,), ("--port", "80"), Nowhere(), False),
            (None, (), ("--port", "unix:/x"), Nowhere(), True),
        ]:  # fmt: skip
            self.patch(command_line, "inherited_sockets", lambda reactor, inherited=inherited: inherited)
            environment = {} if directory is None else {"RUNTIME_DIRECTORY": directory}
            with mock_module.patch.dict(os.environ, environment):
                parsed = options(*mock, *words)
                self.assertEqual((parsed.users_address, parsed.knows_users), (address, knows), (directory, inherited, words))
        for wrong in ("/x", "unix:", "tcp:80", "unix:/x:mode=9"):
            self.assertIn("expected unix:PATH", self.refused(*mock, "--socket", wrong))

    def test_read_again(self) -> None:
        """The file is read again where it was, and the command line goes before it still; what is in force stays."""
        path = Path(os.path.abspath(self.mktemp()))
        path.write_text('interval = 5\nkeep_days = 3\n[[queue]]\ntype = "mock"\n')
        parsed = options("--config", os.path.relpath(path), "--interval", "7")
        path.write_text('interval = 6\nkeep_days = 4\n[[queue]]\ntype = "slurm"\n')
        self.patch(os, "getcwd", lambda: "/")
        again = parsed.read_again()
        self.assertEqual((again.interval, again.keep_days, [queue.type for queue in again.queues]), (7.0, 4.0, ["slurm"]))
        self.assertEqual((parsed.settings.keep_days, [queue.queue_type for queue in parsed.queues]), (3.0, ["mock"]))
        path.write_text("port = 99999\n")
        self.assertRaises(ConfigError, parsed.read_again)
        self.assertEqual(options("--queue", "mock").read_again(), options("--queue", "mock").settings)

    def test_bad_values(self) -> None:
        """Each names its option, its value, and what was expected."""
        for name, value, expected in [
            ("--port", "nonsense:1", "endpoint string"), ("--port", "70000", "65535"), ("--max-held", "0", "a whole number from 1"),
            ("--interval", "never", "seconds"), ("--keep-days", "-1", "days"), ("--keep-events", "many", "a whole number"),
            ("--static", "/nonexistent", "no such directory"), ("--nudge-secret", "/nonexistent", "No such file"),
            ("--nudge", "tcp:1", "unix:PATH"), ("--nudge", "udp:127.0.0.1:99", "nudge_secret"), ("--state", "", "a path"),
        ]:  # fmt: skip
            line = self.refused("--queue", "mock", name, value)
            self.assertTrue(line.startswith(f"{name} {shlex.quote(value)}"), line)
            self.assertIn(expected, line)
        self.assertIn("/nonexistent.toml", self.refused("--config", "/nonexistent.toml"))

    def test_relative_paths_are_named_in_full(self) -> None:
        """An error tells which path a relative one stands for."""
        self.assertIn(f"--static here: {os.getcwd()}/here: ", self.refused("--queue", "mock", "--static", "here"))

    def test_nothing_but_options(self) -> None:
        """A word that belongs to no option is refused by name."""
        self.assertIn("'slurm'", self.refused("--queue", "mock", "slurm"))

    def test_errors_in_the_file(self) -> None:
        """What only the service can check names the file and the key too."""
        for text, words in {
            'port = "nonsense:1"': ['port = "nonsense:1"', "endpoint string"],
            'static = "here"': ['static = "here"', "no such directory"],
            'nudge_secret = "here"': ['nudge_secret = "here"', "No such file"],
            'port = "tcp:80"': ['port = "tcp:80"', "--allow-anonymous"],
            '[[queue]]\ntype = "slurm"\ncolour = "red"': ["[[queue]] 1 (slurm)", "unknown option 'colour'", "cluster"],
            '[[queue]]\ntype = "mock"\n[[queue]]\ntype = "mock"\ninterval = true': ["[[queue]] 2 (mock)", "interval=True", "seconds"],
            '[[queue]]\ntype = "mock"\nfloor = 0': ["[[queue]] 1 (mock)", "floor=0", "seconds"],
            '[[queue]]\ntype = "mock"\n[[queue]]\ntype = "mock"': ["[[queue]] 2 (mock)", "two queues"],
            '[[queue]]\ntype = "nqs"': ["[[queue]] 1 (nqs)", "there is no queue type"],
            '[[listener]]\ntype = "log"\nlevel = 3': ["[[listener]] 1 (log)", "unknown option 'level'", "name"],
        }.items():  # fmt: skip
            path = Path(os.path.abspath(self.mktemp()))
            path.write_text(text)
            line = self.refused("--config", str(path), *([] if "[[queue]]" in text else ["--queue", "mock"]))
            for word in (str(path), *words):
                self.assertIn(word, line, text)

    def test_command_line_first(self) -> None:
        """What the command line says goes before the file; what it does not say is the file's."""
        path = Path(os.path.abspath(self.mktemp()))
        path.write_text('port = 9999\ninterval = 5\n[[queue]]\ntype = "slurm"\n')
        parsed = options("--config", str(path), "--port", "1234", "--queue", "mock")
        self.assertEqual((parsed.endpoints[0], [q.queue_type for q in parsed.queues]), ("tcp:1234:interface=127.0.0.1:backlog=4096", ["mock"]))
        self.assertEqual(parsed.queues[0].interval, 5.0)

    def test_paths_of_queues(self) -> None:
        """A relative path of a queue is relative to the configuration file; on the command line to the working directory."""
        path = Path(os.path.abspath(self.mktemp())) / "jobpush.toml"
        path.parent.mkdir()
        path.write_text('[[queue]]\ntype = "mock"\nfile = "no-jobs"\n')
        for parsed, expected in (
            (options("--config", str(path)), path.parent / "no-jobs"), (options("--queue", "mock:file=no-jobs"), Path.cwd() / "no-jobs"),
        ):  # fmt: skip
            failure = self.failureResultOf(parsed.queues[0].snapshot(), QueueError)
            self.assertIn(f" {expected} ", str(failure.value))

    def test_settings_below_a_table(self) -> None:
        """TOML gives a key below a table to that table: the error of a setting there says so."""
        for text, table in {
            '[[queue]]\ntype = "mock"\nkeep_days = 3\n': "[[queue]]",
            '[[queue]]\ntype = "mock"\n[[listener]]\ntype = "log"\ninterval = 3\n': "[[listener]]",
        }.items():
            path = Path(os.path.abspath(self.mktemp()))
            path.write_text(text)
            line = self.refused("--config", str(path))
            self.assertIn(f"stands below {table}", line)
            self.assertIn("must stand above the first table", line)
        self.assertNotIn("stands below", self.refused("--queue", "mock:keep_days=3"))

    def test_a_general_interval_is_no_setting_below_a_table(self) -> None:
        """An adapter without an interval refuses the general one without a word on tables."""
        path = Path(os.path.abspath(self.mktemp()))
        path.write_text('interval = 3\n[[queue]]\ntype = "plain"\n')
        self.patch(registry, "queue_factories", lambda: [PlainFactory()])
        line = self.refused("--config", str(path))
        self.assertIn("unknown option 'interval'", line)
        self.assertNotIn("stands below", line)

    def test_make_service_opens_nothing(self) -> None:
        """twistd goes to the background after it: no file, no socket, no thread yet."""
        from twisted.internet import reactor

        self.patch(reactor, "seconds", reactor.seconds)  # type: ignore[attr-defined]
        state = os.path.abspath(self.mktemp())
        before = len(os.listdir("/proc/self/fd"))
        makeService(options("--queue", "mock", "--state", state))
        self.assertFalse(os.path.exists(state))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class TwistdTests(SynchronousTestCase):
    """twistd itself, as its own process."""

    def setUp(self) -> None:
        self.directory = Path(os.path.abspath(self.mktemp()))
        self.directory.mkdir()

    def test_help(self) -> None:
        """jobpush is listed, from any directory."""
        self.assertIn("jobpush", run_twistd("--help", cwd=self.directory).stdout)
        for arguments, word in (
            (["--help"], "--queue"), (["--help-queues"], "slurm"), (["--help-queue-type", "slurm"], "conf=PATH"), (["--help-queue-type", "slurm"], "reconcile=SECONDS"), (["--version"], "jobpush 0"),
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
        """One line that names the option and the reason."""
        import socket

        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            line = self.failure("--port", str(port))
        self.assertEqual(line, f"jobpush: --port {port}: cannot listen: Address already in use")

    def test_unusable_socket(self) -> None:
        """A unix socket in a directory that is not there: one line that names the option and the reason."""
        port = f"unix:{self.directory}/none/socket"
        self.assertEqual(self.failure("--port", port), f"jobpush: --port {port}: cannot listen: No such file or directory")

    def test_unwritable_paths(self) -> None:
        """One line that names the option and the path, and nothing is half started."""
        (self.directory / "file").write_text("x")
        path = str(self.directory / "file" / "x")
        for option in ("--state", "--access-log"):
            line = self.failure("--port", str(free_ports(1)[0]), option, path)
            self.assertTrue(line.startswith(f"jobpush: {option} {path}: "), line)
            self.assertIn("Not a directory", line)
            self.assertNotIn("cannot listen", line)
        pipe = str(self.directory / "pipe")
        os.mkfifo(pipe)
        self.assertIn(f"--access-log {pipe}: ", self.failure("--port", str(free_ports(1)[0]), "--access-log", pipe))
        line = self.failure("--port", str(free_ports(1)[0]), "--nudge", f"unix:{path}")
        self.assertTrue(line.startswith(f"jobpush: --nudge unix:{path}: "), line)

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

    def test_twist(self) -> None:
        """Twisted's other command, which has other options of its own."""
        port = free_ports(1)[0]
        command = [sys.executable, "-m", "twisted", "jobpush", "--queue", "mock", "--port", str(port), "--state", "state"]
        with (
            open(self.directory / "twist.log", "wb") as log,
            subprocess.Popen(command, cwd=self.directory, env=twistd_environment(None), stdout=log, stderr=log) as process,
        ):
            service = ServiceProcess(self.directory)
            service.port = port
            try:
                wait_until(lambda: process.poll() is not None or answers(port), 20)
                self.assertIsNone(process.poll(), (self.directory / "twist.log").read_text())
                self.assertEqual(service.get("/v1/jobs").status, 200)
            finally:
                process.terminate()
        self.assertIn(process.returncode, (0, -signal.SIGTERM))

    def test_bad_options(self) -> None:
        """One line, without the list of all options; status 1."""
        for arguments, words in (
            (["--queue", "nqs"], "--queue nqs: there is no queue type 'nqs'"), (["--quue", "mock"], "--quue"), (["--port", "x:1"], "--port x:1"),
        ):  # fmt: skip
            result = run_twistd("--nodaemon", "jobpush", *arguments, cwd=self.directory)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertRegex(result.stderr, r"\Ajobpush: .*\n\Z")
            self.assertIn(words, result.stderr)


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
        import time
        from jobpush.adapter.options import OptionReader
        from jobpush.adapter.testing import MemoryQueue
        reader = OptionReader(options)
        queue = MemoryQueue(reactor, cluster=reader.cluster("lsf"), wall=time.time)
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
