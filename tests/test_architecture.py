"""What the layout promises."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import jobpush
import jobpush_client
from tests import clock_uses, documents
from tests.mutants import mirror

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent

#: The modules that ask a reactor for the time, or what stands for one: for intervals and deadlines, never for dates.
MEASURE = {
    "jobpush/adapter": "command fakes",
    "jobpush/events": "publisher reader tracker",
    "jobpush/polling": "look lookups monitor nudges past_attempts",
    "jobpush/runtime": "accounts clocks cooperate gc_pauses heartbeat timer_wheel turns",
    "jobpush": "assembly service",
    "jobpush/web": "answering arrivals connection_shares departures health_socket shares signed_tokens site tickets tokens users_file",
    "jobpush/web/held": "connections following judging registry response_group stream_group websocket",
    "jobpush/web/routes": "barriers common jobs tokens workflows",
    "adapters/jobpush_adapters/mock": "queue",
    "adapters/jobpush_adapters/pbs": "openpbs",
    "adapters/jobpush_adapters/sge": "left queue",
    "adapters/jobpush_adapters/slurm": "merged probe queue",
}

#: The modules that name a clock of the host: where it is what is handed in unless a test says otherwise, or what a response, a process
#: of its own or a tool for tests is dated or timed by.
NAME_A_CLOCK = {
    "jobpush/runtime": "clocks",
    "jobpush/adapter": "testing watched",
    "jobpush/events": "journal",
    "jobpush/polling": "nudge_sockets",
    "jobpush/web": "access_log responses",
    "adapters/jobpush_adapters/common": "base",
    "adapters/jobpush_adapters/mock": "queue",
    "adapters/jobpush_adapters/slurm": "probe_helper",
}


def paths(modules: dict[str, str]) -> set[str]:
    """Return the paths of modules that are given by folder."""
    return {f"{folder}/{name}.py" for folder, names in modules.items() for name in names.split()}


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


class PageTests(SynchronousTestCase):
    """``docs/architecture.md``."""

    def setUp(self) -> None:
        self.page = (ROOT / "docs" / "architecture.md").read_text()
        found = re.search(r"^\| package \|.*\n\|[-|]*\n((?:\|.*\n)*)", self.page, re.MULTILINE)
        assert found is not None
        self.named = re.findall(r"^\| `([a-z_.]+)` \|", found[1], re.MULTILINE)
        self.assertEqual(len(self.named), len(found[1].splitlines()))

    def test_packages(self) -> None:
        """Each package is named once, and each that is named is there."""
        there = []
        for base in (ROOT, ROOT / "adapters", ROOT / "client"):
            tops = [path for path in base.iterdir() if path.name.startswith("jobpush") and (path / "__init__.py").exists()]
            inits = [path for top in tops for path in top.rglob("__init__.py")]
            there += [".".join(path.parent.relative_to(base).parts) for path in inits]
        self.assertEqual(sorted(self.named), sorted(there))

    def test_order(self) -> None:
        """The service's packages are in the order of the import contract."""
        contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["jobpush"]]
        packages = [f"jobpush.{name}" for layer in layers for name in layer.split(" | ") if (ROOT / "jobpush" / name).is_dir()]
        self.assertEqual([name for name in self.named if name in packages], packages)

    def test_picture(self) -> None:
        """Each package but the topmost is in the picture."""
        picture = next(block.text for block in documents.blocks("docs/architecture.md") if block.language == "text")
        words = set(re.findall(r"[a-z_.]+", picture))
        for name in self.named:
            parent, _, last = name.rpartition(".")
            if parent and name != "jobpush.runtime":  # it is below all of them
                self.assertTrue(name in words or (f".{last}" in words and any(parent in word for word in words)), name)

    def test_questions(self) -> None:
        """Ten questions or more, and each file that answers one is there."""
        rows = re.findall(r"^\| (.+\?) \| (.+) \|$", self.page.partition("## Where to look")[2], re.MULTILINE)
        self.assertGreaterEqual(len(rows), 10)
        for question, answer in rows:
            paths = re.findall(r"`([a-z_/.]+)`", answer)
            self.assertTrue(paths, question)
            for path in paths:
                self.assertTrue((ROOT / path).exists(), f"{question} {path}")

    def test_other_names(self) -> None:
        """Every other path that the page names is there."""
        for path in re.findall(r"`((?:jobpush|twisted|client|adapters)/[a-z_/.]+)`", self.page):
            self.assertTrue((ROOT / path).exists(), path)


class LayoutTests(SynchronousTestCase):
    """Files and imports."""

    def test_no_init_in_twisted(self) -> None:
        """An ``__init__.py`` there would replace Twisted's own, and uninstalling would delete that."""
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])

    def test_only_web_knows_the_web(self) -> None:
        """No module but ``jobpush.web`` and the assembly imports ``twisted.web`` or Klein; adapters neither."""
        service = [path for path in (ROOT / "jobpush").rglob("*.py") if "web" not in path.parts]
        for path in [*service, *(ROOT / "adapters").rglob("*.py")]:
            if path != ROOT / "jobpush" / "tap.py":
                web = {name for name in imports(path) if name.startswith(("twisted.web", "klein", "werkzeug"))}
                self.assertEqual(web, set(), path)

    def test_light_plugins(self) -> None:
        """A drop-in is imported by every twistd run: it pulls in neither the web nor an adapter's machinery."""
        import subprocess

        from tests.service_process import twistd_environment

        code = (
            "import sys; sys.path[:0] = ['twisted/plugins']; import jobpush_service; "
            "print([m for m in sys.modules if m.startswith(('klein', 'twisted.web', 'sqlite3', 'jobpush.tap', 'jobpush_adapters.slurm.queue'))])"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=twistd_environment(None), capture_output=True, text=True, check=True
        )
        self.assertEqual(result.stdout.strip(), "[]")

    def test_each_module_has_its_tests(self) -> None:
        """``jobpush/core/diff.py`` is tested in ``tests/core/test_diff.py``; or its docstring names the file that does."""
        packages = ("jobpush", "adapters", "client")
        modules = [path for package in packages for path in sorted((ROOT / package).rglob("*.py")) if not path.name.startswith("__")]
        self.assertGreater(len(modules), 100)
        for path in modules:
            named = re.findall(r"tests/[\w/]+\.py", ast.get_docstring(ast.parse(path.read_text())) or "")
            own = mirror(str(path.relative_to(ROOT)))
            there = [test for test in (own, *named) if (ROOT / test).is_file()]
            self.assertTrue(there, f"{path.relative_to(ROOT)} has no {own}, and its docstring names no other file of tests")
            self.assertLessEqual(set(named), set(there), f"the docstring of {path.relative_to(ROOT)} names a file that is not there")

    def test_one_version(self) -> None:
        """The client and the service are released together."""
        self.assertEqual(jobpush.__version__, jobpush_client.__version__)

    def test_files_stay_small(self) -> None:
        """A file past about 400 lines wants to be two."""
        for path in [path for top in ("jobpush", "adapters", "client") for path in (ROOT / top).rglob("*.py")]:
            self.assertLess(len(path.read_text().splitlines()), 470, path)


class ClockTests(SynchronousTestCase):
    """Which clock a time is of: in ``twistd jobpush`` the reactor's is the time since the host was started."""

    def setUp(self) -> None:
        found = [path for top in ("jobpush", "adapters") for path in sorted((ROOT / top).rglob("*.py"))]
        self.sources = {str(path.relative_to(ROOT)): path.read_text() for path in found}

    def test_no_date_of_the_reactor(self) -> None:
        """None of its times is compared with a date, written as one, or passed for one; and no date is taken for one of its times."""
        found = [f"{path}:{one.line}: {one.text}" for path, source in self.sources.items() for one in clock_uses.misuses(source)]
        self.assertEqual(found, [])

    def test_who_measures(self) -> None:
        """A module that asks the reactor for the time is listed: somebody has made sure that it is for an interval."""
        found = {path for path, source in self.sources.items() if clock_uses.asks_for_seconds(source)}
        self.assertEqual(found, paths(MEASURE))

    def test_who_names_a_clock(self) -> None:
        """Clocks are handed in."""
        found = {path for path, source in self.sources.items() if clock_uses.names_host_clock(source)}
        self.assertEqual(found, paths(NAME_A_CLOCK))

    def test_who_repeats(self) -> None:
        """What is repeated goes on after an error: by `Repeated`, or with a handler of its own."""
        found = {path for path, source in self.sources.items() if "LoopingCall(" in source}
        own = {"adapters/jobpush_adapters/common/watch.py", "jobpush/polling/monitor.py"}
        self.assertEqual(found, own)

    def test_mistakes(self) -> None:
        """Each of these is found."""
        now = "now = self._reactor.seconds()"
        for body, expected in [
            (now, ""),
            (f"{now}; return now - self._began", ""),
            ("began = self._wall(); await x(); return Snapshot({}, began, self._wall())", ""),
            (f"{now}; return Snapshot({{}}, 1.0, ended_at=now)", "ended_at= is a date"),
            ("return Snapshot({}, self._reactor.seconds(), 2.0)", "Snapshot() takes a date"),
            (f"{now}; return lambda jobs: diff(jobs, x, now)", "diff() takes a date"),
            (f"{now}; return job.observed_at < now", "a date is compared with what is none"),
            (f"{now}; return now - job.ended_at > 5.0", "a date is subtracted from what is none, or that from a date"),
            (f"{now}; return max(now, 3.0) - record.updated_at", "a date is subtracted from what is none, or that from a date"),
            ("return self._clocks.elapsed() >= self._clocks.wall()", "a date is compared with what is none"),
            ("return self._at - self._reactor.seconds()", "a date is subtracted from what is none, or that from a date"),
            ("self._at = self._reactor.seconds() + 5.0", "self._at is a date and is none"),
            ("at, now = self._reactor.seconds(), self._wall(); return now - at", "a date is subtracted from what is none, or that from a date"),
            ("self._difference = self._wall() - self._reactor.seconds()", ""),
            (f"{now}; return time.strftime('%H', time.gmtime(now))", "gmtime() takes a date"),
            ("job.observed_at = self._reactor.seconds()", "observed_at is a date"),
            ("self._reactor.callLater(self._wall(), x)", "callLater() takes no date"),
        ]:
            source = f"class C:\n    def begin(self):\n        self._at = self._wall()\n    async def f(self):\n        {body}\n"
            found = [one.text for one in clock_uses.misuses(source)]
            self.assertIn(expected, found) if expected else self.assertEqual(found, [], body)
