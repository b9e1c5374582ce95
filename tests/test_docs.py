"""What the documentation shows works as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from jobpush.tap import Options
from tests.service_process import ROOT, ServiceProcess, free_ports, start_twistd, twistd_environment
from tests.slurm_cluster import wait_until

DOCS = ROOT / "docs"


def blocks(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


class AdapterPageTests(SynchronousTestCase):
    """``docs/writing-an-adapter.md``."""

    def setUp(self) -> None:
        self.site = Path(os.path.abspath(self.mktemp()))
        for block in blocks("writing-an-adapter.md"):
            name = re.match(r"# (\S+)\n", block)
            assert name is not None, "each block says which file it is"
            path = self.site / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block)
        self.environment = twistd_environment(None)
        self.environment["PYTHONPATH"] += os.pathsep + str(self.site)

    def test_its_adapter_keeps_the_contract(self) -> None:
        """The worked example's tests pass."""
        result = subprocess.run(
            [sys.executable, "-m", "twisted.trial", "--reporter=text", "test_lsq"],
            cwd=self.site, env=self.environment, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertRegex(result.stdout, r"PASSED \(successes=1[0-9]\)")

    def test_its_plugin_is_found(self) -> None:
        """twistd serves the example's queue."""
        service = ServiceProcess(self.site / "run", "--queue", "lsq", environment={"PYTHONPATH": self.environment["PYTHONPATH"]})
        service.start()
        self.addCleanup(service.stop)
        self.assertEqual(service.get("/readyz").json["queues"]["lsq"]["type"], "lsq")


class EmbeddingPageTests(SynchronousTestCase):
    """``docs/embedding.md``."""

    def test_gateway(self) -> None:
        """jobpush in another application, under another path."""
        directory = Path(os.path.abspath(self.mktemp()))
        directory.mkdir()
        port = free_ports(1)[0]
        (directory / "gateway.py").write_text(blocks("embedding.md")[0].replace("8080", str(port)))
        with open(directory / "log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=", "--python", "gateway.py"],
                cwd=directory, env=twistd_environment(None), stdout=log, stderr=log,
            )  # fmt: skip
        self.addCleanup(process.wait, 20)
        self.addCleanup(process.terminate)
        service = ServiceProcess(directory)
        service.port = port

        def answers() -> bool:
            try:
                return bool(service.get("/jobs/v1/jobs", timeout=5).json["jobs"])
            except OSError:
                return False

        wait_until(answers, 20)
        job = service.get("/jobs/v1/jobs").json["jobs"][0]
        self.assertEqual(service.get(f"/jobs/v1/jobs/demo/{job['id']}").json["job"]["id"], job["id"])
        self.assertEqual(service.get("/jobs/v1/nothing").status, 404)

    def test_listener(self) -> None:
        """The example's listener counts."""
        directory = Path(os.path.abspath(self.mktemp()))
        plugins = directory / "site" / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "jobpush_count_plugin.py").write_text(blocks("embedding.md")[1])
        environment = {"PYTHONPATH": twistd_environment(None)["PYTHONPATH"] + os.pathsep + str(directory / "site")}
        log = directory / "log"
        process = start_twistd(["--port", str(free_ports(1)[0]), "--queue", "mock", "--listener", "count"], directory, log, environment)
        self.addCleanup(process.wait, 20)
        self.addCleanup(process.terminate)
        wait_until(lambda: "'RUNNING': " in log.read_text(), 30)


class LinkTests(SynchronousTestCase):
    """The README and the pages."""

    def test_links(self) -> None:
        """Every file that is linked to is there."""
        for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md"), ROOT / "benchmarks" / "README.md"]:
            for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
                if "://" not in target:
                    self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")

    def test_options_are_documented(self) -> None:
        """Every option that the README names is one."""
        known = {f"--{name.rstrip('=')}" for name in Options().longOpt}
        twistd = {"--nodaemon", "--pidfile", "--help", "--version", "--python", "--logger"}
        others = {"--parsable", "--wrap", "--comment", "--system", "--home-dir", "--shell", "--now", "--seconds", "--changes", "--every"}
        for page in (ROOT / "README.md", *(DOCS / f"{name}.md" for name in ("service-account", "embedding", "freshness", "operations", "install"))):
            named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text()))
            self.assertLessEqual(named - twistd - others, known, page)
