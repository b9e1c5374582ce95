"""What is released: the package's metadata and contents, and the list of changes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import metadata
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from twisted.trial.unittest import SynchronousTestCase

from tests.service_process import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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
        self.assertEqual({*found, "jobpush_samples", "twisted.plugins"}, set(setup_argument("packages")))

    def test_package_data(self) -> None:
        """Each pattern of package data finds files, and the dashboard's and the hooks' are all found."""
        directories: dict[str, str] = setup_argument("package_dir")
        for package, patterns in setup_argument("package_data").items():
            top, _, rest = package.partition(".")
            directory = ROOT / directories.get(top, top) / rest.replace(".", "/")
            for pattern in patterns:
                self.assertTrue([path for path in directory.glob(pattern) if path.is_file()], (package, pattern))
        self.assertEqual([path for path in (ROOT / "jobpush" / "web" / "dashboard").iterdir() if path.is_dir()], [])
        self.assertEqual([path for path in (ROOT / "etc" / "hooks").iterdir() if path.is_dir()], [])


class NewsTests(SynchronousTestCase):
    """``newsfragments``."""

    def setUp(self) -> None:
        self.fragments = sorted(path for path in (ROOT / "newsfragments").iterdir() if path.name != "README.md")

    def test_names(self) -> None:
        """Each is of a type that towncrier knows, so that none is passed over at a release."""
        configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
        types = [each["directory"] for each in configuration["type"]]
        self.assertEqual(types, ["feature", "bugfix", "doc", "removal", "misc"])
        for path in self.fragments:
            self.assertRegex(path.name, rf"^(\+[a-z0-9-]+|\d+)\.({'|'.join(types)})\.md$")
        table = re.findall(r"^\| `(\w+)` \|", (ROOT / "newsfragments" / "README.md").read_text(), re.MULTILINE)
        self.assertEqual(table, types)

    def test_draft(self) -> None:
        """``towncrier build --draft`` shows every fragment."""
        draft = self.draft()
        for path in self.fragments:
            self.assertIn(squeezed(path.read_text()), draft, path.name)

    def test_where_releases_go(self) -> None:
        """The next release goes above the older ones."""
        text = (ROOT / "CHANGELOG.md").read_text()
        marker = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["start_string"]
        self.assertEqual(text.count(marker), 1)
        self.assertNotIn("\n## ", text.partition(marker)[0])
        self.assertIn("\n## 0.1.0 ", text.partition(marker)[2])

    def draft(self) -> str:
        """Return what ``towncrier build --draft`` prints, with each run of white space as one space."""
        command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9.9"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("## 9.9.9 - ", result.stdout)
        return squeezed(result.stdout)


def squeezed(text: str) -> str:
    """Return a text with each run of white space as one space."""
    return " ".join(text.split())


