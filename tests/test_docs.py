"""What the documentation shows works as it is written. Blocks for the shell are run by tests/with_service/test_documents.py."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from jobpush.tap import Options
from jobpush_client.cli import parser
from tests import doc_commands, doc_shell, documents
from tests.certificates import Authority
from tests.fakes import Programs
from tests.service_process import ROOT, ServiceProcess, free_ports, start_twistd, twistd_environment
from tests.slurm_cluster import wait_until

DOCS = ROOT / "docs"


#: The pages whose programs are run here.
PAGES_OF_PROGRAMS = ("docs/writing-an-adapter.md", "docs/embedding.md")


def programs(page: str) -> list[str]:
    """The Python blocks of a page."""
    return [block.text for block in documents.blocks(page) if block.language == "python"]


class AdapterPageTests(SynchronousTestCase):
    """``docs/writing-an-adapter.md``."""

    def setUp(self) -> None:
        self.site = Path(os.path.abspath(self.mktemp()))
        documents.write_files("docs/writing-an-adapter.md", self.site)
        self.environment = twistd_environment(None)
        self.environment["PYTHONPATH"] += os.pathsep + str(self.site)

    def test_its_adapter_keeps_the_contract(self) -> None:
        """The worked example's tests pass."""
        result = subprocess.run(
            [sys.executable, "-m", "twisted.trial", "--reporter=text", "test_lsq"],
            cwd=self.site, env=self.environment, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertRegex(result.stdout, r"PASSED \(successes=2[0-9]\)", "no test is skipped")

    def test_its_distribution(self) -> None:
        """What the page's pyproject.toml builds holds the adapter and its plugin, and nothing else of Twisted's packages."""
        built = self.site / "built"
        result = subprocess.run(
            [sys.executable, "-c", "from setuptools import setup; setup()", "build", "--build-lib", str(built)],
            cwd=self.site, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        self.assertEqual(result.returncode, 0, result.stderr)
        files = [str(path.relative_to(built)) for path in sorted(built.rglob("*")) if path.is_file()]
        self.assertEqual(files, ["jobpush_lsq.py", "twisted/plugins/jobpush_lsq_plugin.py"])

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
        (directory / "gateway.py").write_text(programs("docs/embedding.md")[0].replace("8080", str(port)))
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
        (plugins / "jobpush_count_plugin.py").write_text(programs("docs/embedding.md")[1])
        environment = {"PYTHONPATH": twistd_environment(None)["PYTHONPATH"] + os.pathsep + str(directory / "site")}
        log = directory / "log"
        process = start_twistd(["--port", str(free_ports(1)[0]), "--queue", "mock", "--listener", "count"], directory, log, environment)
        self.addCleanup(process.wait, 20)
        self.addCleanup(process.terminate)
        wait_until(lambda: "'RUNNING': " in log.read_text(), 30)


class BlockTests(SynchronousTestCase):
    """`tests.documents`, and what can be said of each block without running it."""

    PAGE = """\
# A page

    first line

    after an empty line

<!-- needs: slurm root -->

    $ echo a \\
    > b
    a b
    $ true

- in a list

  ```toml
  port = 1
  ```

> quoted

<!-- another comment -->

```python
x = 1
```
"""

    def test_blocks(self) -> None:
        """Each block, with its line, language, text and needs."""
        first, second, third, fourth = documents.blocks_of(self.PAGE, "p")
        self.assertEqual((first.name, first.language, first.needs), ("p:3", "sh", ()))
        self.assertEqual(first.text, "first line\n\nafter an empty line\n")
        self.assertEqual((second.name, second.needs), ("p:9", ("slurm", "root")))
        self.assertEqual((first.commands, second.commands), ([first.text], ["echo a \\\nb\n", "true\n"]))
        self.assertEqual((third.language, third.text), ("toml", "port = 1\n"))
        self.assertEqual((fourth.language, fourth.text, fourth.needs), ("python", "x = 1\n", ()))

    def test_what_is_no_block(self) -> None:
        """A fence without a language, or an unknown one, an unknown need, and a comment before no block are refused."""
        for text in (
            "```\nx\n```", "```perl\nx\n```", "<!-- needs: money -->\n\n    x", "<!-- needs: -->\n\n    x",
            "<!-- needs slurm -->\n\n    x", "<!-- needs: slurm -->\n\ntext\n\n    x", "<!-- needs: slurm -->\n",
            "- a\n\n  ```\n  x\n  ```",
        ):  # fmt: skip
            with self.assertRaises(documents.BlockError, msg=text) as caught:
                documents.blocks_of("line\n\n" + text, "page.md")
            self.assertIn("page.md", str(caught.exception))

    def test_all_pages(self) -> None:
        """Every block of every page has a language, and needs what is known; nothing that may be needed is left over."""
        found = documents.all_blocks()
        self.assertGreater(len(found), 50)
        self.assertEqual({need for block in found for need in block.needs}, set(documents.NEEDS))

    def test_toml(self) -> None:
        """Each configuration is read, its queues and listeners too."""
        files = Path(self.mktemp()).absolute()
        files.mkdir()
        pair = Authority(files).pair("site")
        for block in documents.all_blocks():
            if block.language == "toml" and block.file != "pyproject.toml":
                path = self.mktemp()
                text = block.text.replace("/etc/jobpush/tls/fullchain.pem", str(pair.cert))
                Path(path).write_text(text.replace("/etc/jobpush/tls/privkey.pem", str(pair.key)))
                options = Options()
                options.parseOptions(["--config", path])
                self.assertTrue(options.settings, block.name)

    def test_python(self) -> None:
        """Each program compiles, also those that are not run."""
        for block in documents.all_blocks():
            if block.language == "python":
                compile(block.text, block.name, "exec")

    def test_command_lines(self) -> None:
        """In blocks that are not run, each call of ``jobpush`` and ``twistd jobpush`` has arguments that the command takes."""
        count = 0
        for block in documents.all_blocks():
            for words in calls(block) if block.language == "sh" and block.needs else ():
                count += 1
                try:
                    parse(words)
                except (SystemExit, usage.UsageError) as error:
                    self.fail(f"{block.name}: {' '.join(words)}: {error}")
        self.assertGreater(count, 10)


class ShellTests(SynchronousTestCase):
    """`tests.doc_shell`, with commands that need no service."""

    def setUp(self) -> None:
        self.programs = Programs(os.path.abspath(self.mktemp()))

    def run_blocks(self, *texts: str) -> str:
        """Run blocks, and return what they print."""
        directory = Path(os.path.abspath(self.mktemp()))
        directory.mkdir()
        environment = doc_commands.environment(free_ports(1)[0], str(self.programs.directory), str(directory / "service.pid"))
        some = [documents.Block("page.md", number, "sh", text) for number, text in enumerate(texts, 1)]
        return doc_shell.run(some, directory, environment)

    def test_in_order(self) -> None:
        """A page's blocks share a shell; what a session shows as printed is not typed."""
        printed = self.run_blocks("x=1\n", "$ cat <<END\n> in $x\n> END\nfalse\n$ echo out\n", "(sleep 0.2; echo late) &\n")
        self.assertEqual(printed, "in 1\nout\nlate\n")

    def test_failures(self) -> None:
        """A command that fails is told, with its block: also in a pipe, in a substitution, in the background."""
        for text in (
            "false\ntrue\n", "false | true\n", "x=$(false)\n", "false &\n", "no-such-command\n", "(exit 3)\n",
            "$ false\n$ true\n",
        ):  # fmt: skip
            with self.assertRaises(AssertionError, msg=text) as caught:
                self.run_blocks("true\n", text)
            self.assertIn("page.md:2: status ", str(caught.exception))

    def test_no_failures(self) -> None:
        """What a shell does not take for a failure is none."""
        self.run_blocks("false || true\nif false; then true; fi\nfalse && true\n")

    def test_what_is_no_shell(self) -> None:
        """What bash cannot read is a failure."""
        with self.assertRaises(AssertionError) as caught:
            self.run_blocks("echo 'never closed\n")
        self.assertIn("unexpected EOF", str(caught.exception))

    def test_whose_status(self) -> None:
        """A job's exit status, which ``jobpush wait`` hands on, is no failure of the page; the command's own is one."""
        self.programs.write("jobpush", '#!/bin/sh\nexit "$2"\n')
        self.run_blocks("jobpush wait 3\n", "jobpush wait 220\n")
        self.assertRaises(AssertionError, self.run_blocks, "jobpush show 3\n")
        for status in (2, 124, 127, 130, 240, 241, 242):
            with self.assertRaises(AssertionError, msg=str(status)):
                self.run_blocks(f"jobpush wait {status}\n")


def calls(block: documents.Block) -> list[list[str]]:
    """Return the words of each simple command of a block that is ``jobpush …`` or ``twistd … jobpush …``."""
    found = []
    for line in "".join(block.commands).replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\||[;|&]\s|&$", re.sub(r"\$\([^()]*\)", "WORD", line)):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # a quotation that goes on, as in a here document
                continue
            name = os.path.basename(words[0]) if words else ""
            if "…" not in words and (name == "jobpush" or (name == "twistd" and "jobpush" in words)):
                found.append([name, *words[1:]])
    return found


def parse(words: list[str]) -> None:
    """
    Read the arguments of a command of jobpush as it would.

    :raise SystemExit: if ``jobpush`` does not take them, or prints something and ends.
    :raise usage.UsageError: if ``twistd jobpush`` does not take them.
    """
    if words[0] == "jobpush":
        with contextlib.redirect_stderr(io.StringIO()) as complaint:
            try:
                parser().parse_args(words[1:])
            except SystemExit as error:
                raise SystemExit(complaint.getvalue() or error.code) from None
        return
    rest = words[words.index("jobpush") + 1 :]
    if rest[:1] not in (["--version"], ["--help"], ["--help-queues"]):
        Options().parseOptions(rest)


class LinkTests(SynchronousTestCase):
    """The README and the pages."""

    def test_links(self) -> None:
        """Every file that is linked to is there."""
        for page in [ROOT / name for name in documents.pages()]:
            for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
                if "://" not in target:
                    self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")

    def test_modules(self) -> None:
        """Each module that a page names is there: by its path, or by the end of it."""
        modules = [str(path.relative_to(ROOT)) for top in ("jobpush", "adapters", "client") for path in (ROOT / top).rglob("*.py")]
        pages = [ROOT / "README.md", *DOCS.glob("*.md")]
        named = re.compile(r"`((?:jobpush|adapters|client)/[\w/]+\.py|[a-z_]+\.py)`")
        for page in pages:
            for name in named.findall(page.read_text()):
                if name not in ("gateway.py", "test_lsq.py", "jobpush_lsq.py"):  # the reader's own
                    self.assertTrue(any(f"/{module}".endswith(f"/{name}") for module in modules), f"{page.name}: {name}")

    def test_options_are_documented(self) -> None:
        """Every option that the README names is one."""
        known = {f"--{name.rstrip('=')}" for name in Options().longOpt}
        twistd = {"--nodaemon", "--pidfile", "--help", "--version", "--python", "--logger"}
        others = {"--parsable", "--wrap", "--comment", "--system", "--home-dir", "--shell", "--now", "--seconds", "--changes"}
        others |= {"--every", "--array", "--force", "--unix-socket"}
        for page in (ROOT / "README.md", *(DOCS / f"{name}.md" for name in ("service-account", "embedding", "freshness", "operations", "install"))):
            named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text()))
            self.assertLessEqual(named - twistd - others, known, page)
