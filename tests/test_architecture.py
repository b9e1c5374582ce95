"""What the layout promises."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import jobpush
import jobpush_client
from tests.mutants import mirror

ROOT = Path(__file__).resolve().parent.parent

def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


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
        import sys

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
        # The web's modules are being put in order.
        packages = ("jobpush/core", "jobpush/events", "jobpush/polling", "jobpush/runtime", "jobpush/adapter", "adapters", "client")
        modules = [path for package in packages for path in sorted((ROOT / package).rglob("*.py")) if not path.name.startswith("__")]
        self.assertGreater(len(modules), 60)
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
