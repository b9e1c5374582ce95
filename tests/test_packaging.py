"""What is released: the package's metadata and contents."""

from __future__ import annotations

import ast
import re
from importlib.metadata import metadata
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from twisted.trial.unittest import SynchronousTestCase

from tests.service_process import ROOT


def setup_argument(name: str) -> Any:
    """Return an argument of ``setup()`` in ``setup.py`` that is written as a literal."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())):
        if isinstance(node, ast.keyword) and node.arg == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"setup.py has no argument {name}")


def flat(tokens: list[Token]) -> list[Token]:
    """Return tokens of Markdown with those that are inside of them."""
    return [each for token in tokens for each in (token, *flat(token.children or []))]


class MetadataTests(SynchronousTestCase):
    """What an index shows of the package. It is read as it was installed: after a change of setup.py, install it again."""

    def setUp(self) -> None:
        self.metadata = metadata("jobpush")

    def test_license(self) -> None:
        """The licence is an SPDX expression, and its text comes with the package."""
        self.assertEqual(self.metadata["License-Expression"], "MIT")
        self.assertEqual(self.metadata.get_all("License-File"), ["LICENSE"])
        self.assertIn("the jobpush authors", (ROOT / "LICENSE").read_text())
        self.assertNotIn("License", self.metadata)
        self.assertEqual([line for line in self.metadata.get_all("Classifier") or () if line.startswith("License")], [])

    def test_long_description(self) -> None:
        """Nothing in the rendered description leads to a file that an index does not have."""
        self.assertEqual(self.metadata["Description-Content-Type"], "text/markdown")
        text = self.metadata.get_payload()  # type: ignore[attr-defined]
        self.assertTrue(text.startswith("# jobpush\n"))
        self.assertIn("A request that waits costs next to nothing", text)
        tokens = flat(MarkdownIt("commonmark").enable("table").parse(text))
        targets = [token.attrGet("src") or token.attrGet("href") for token in tokens if token.type in ("image", "link_open")]
        self.assertEqual([target for target in targets if not re.match(r"https?://", str(target))], [])
        raw = [token.content for token in tokens if token.type in ("html_block", "html_inline")]
        self.assertEqual([html for html in raw if re.search(r"<(img|a)\b", html)], [])

    def test_versions(self) -> None:
        """The classifiers name the versions of Python on which ``make test-all`` runs the tests."""
        found = re.search(r'^VERSIONS="(.*)"$', (ROOT / "tests" / "versions.sh").read_text(), re.MULTILINE)
        assert found is not None
        prefix = "Programming Language :: Python :: 3."
        named = [line.rpartition(" ")[2] for line in self.metadata.get_all("Classifier") or () if line.startswith(prefix)]
        self.assertEqual(named, found[1].split())
        self.assertEqual(self.metadata["Requires-Python"], f">={named[0]}")


class ContentTests(SynchronousTestCase):
    """What ``setup.py`` puts into the wheel."""

    def test_packages(self) -> None:
        """Each package is listed, and each that is listed is there."""
        found = set()
        for top in ("jobpush", "adapters/jobpush_adapters", "client/jobpush_client"):
            base = (ROOT / top).parent
            found |= {".".join(path.parent.relative_to(base).parts) for path in (ROOT / top).rglob("__init__.py")}
        self.assertEqual({*found, "twisted.plugins"}, set(setup_argument("packages")))

    def test_package_data(self) -> None:
        """Each pattern of package data finds files, and the dashboard's are all found."""
        directories: dict[str, str] = setup_argument("package_dir")
        for package, patterns in setup_argument("package_data").items():
            top, _, rest = package.partition(".")
            directory = ROOT / directories.get(top, top) / rest.replace(".", "/")
            for pattern in patterns:
                self.assertTrue([path for path in directory.glob(pattern) if path.is_file()], (package, pattern))
        self.assertEqual([path for path in (ROOT / "jobpush" / "web" / "dashboard").iterdir() if path.is_dir()], [])
