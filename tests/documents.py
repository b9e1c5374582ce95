"""
The code blocks of the documentation, and what each of them is.

An indented block is for the shell. If its first line begins with ``$``, it is a session: lines that begin so are what is typed,
those that begin with ``>`` after them are the rest of a command, and all others are what is printed. Every other block is fenced,
with its language. A comment before a block, ``<!-- needs: WORD … -->``, says what it takes to run it beside jobpush.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import attrs
from markdown_it import MarkdownIt

from tests.service_process import ROOT

LANGUAGES = frozenset({"sh", "python", "pycon", "toml", "text"})

#: What a block may need, and how a list of blocks that were not run says it.
NEEDS = {
    "browser": "a browser and somebody who looks",
    "auth": "somebody who is known by another way than the socket or a token",
    "gridengine": "a Grid Engine to submit to",
    "hosts": "other hosts",
    "packages": "an index to install packages from",
    "parsl": "Parsl",
    "pbs": "a PBS to submit to",
    "peers": "the servers that jobpush is measured beside",
    "release": "a release to be made",
    "root": "a host whose configuration may be changed",
    "slurm": "a Slurm to submit to",
    "slurmdbd": "a Slurm whose accounts may be changed",
    "snakemake": "Snakemake",
    "socket": "a service's socket for the users of its host",
}

_NEEDS = re.compile(r"<!-- needs:([a-z ]*)-->\s*")


class BlockError(Exception):
    """A block of a page, or a comment on one, is not of a form that is known here."""


@attrs.frozen
class Block:
    """
    A code block.

    :ivar page: its page, relative to the checkout.
    :ivar line: the number of its first line there.
    :ivar language: one of `LANGUAGES`.
    :ivar needs: keys of `NEEDS`.
    """

    page: str
    line: int
    language: str
    text: str = attrs.field(repr=False)
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``docs/guide.md:29``."""
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name of the file that it is the whole of: its first line is a comment that says so."""
        named = re.match(r"# (\S+\.(?:py|toml))\n", self.text)
        return named[1] if named is not None else None

    @property
    def why_not(self) -> str:
        """What it needs, for people."""
        return "needs " + ", ".join(NEEDS[need] for need in self.needs)

    @property
    def session(self) -> bool:
        """Whether it shows what is typed and what is printed."""
        return self.text.startswith("$ ")

    @property
    def commands(self) -> list[str]:
        """What is typed, a command each. Of a block that is no session: the whole."""
        if not self.session:
            return [self.text]
        commands: list[str] = []
        before = ""
        for line in self.text.splitlines():
            if line.startswith("$ "):
                commands.append(line[2:] + "\n")
            elif line.startswith("> ") and before[:2] in ("$ ", "> "):
                commands[-1] += line[2:] + "\n"
            before = line
        return commands


def pages() -> list[str]:
    """Return every page of the documentation, relative to the checkout."""
    directories = (ROOT, ROOT / "docs", ROOT / "benchmarks", ROOT / "newsfragments")
    found = [path for directory in directories for path in sorted(directory.glob("*.md")) if not path.name.startswith("+")]
    return [str(path.relative_to(ROOT)) for path in found]


def blocks(page: str) -> list[Block]:
    """
    Return the blocks of a page, in order.

    :raise BlockError: naming the line.
    """
    return blocks_of((ROOT / page).read_text(), page)


def blocks_of(text: str, page: str) -> list[Block]:
    """
    Return the blocks of a text.

    :param page: what it is called in their names.
    :raise BlockError: naming the line.
    """
    found = []
    needs: tuple[str, ...] | None = None
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.map is None:  # the end of a paragraph, a list …
            continue
        line = token.map[0] + 1
        if token.type in ("fence", "code_block"):
            language = token.info.strip() if token.type == "fence" else "sh"
            if language not in LANGUAGES:
                raise BlockError(f"{page}:{line}: a fenced block says its language: {', '.join(sorted(LANGUAGES))}")
            found.append(Block(page, line, language, token.content, needs or ()))
            needs = None
        elif needs is not None:
            raise BlockError(f"{page}:{line}: what is after a comment on a block is no block")
        elif token.type == "html_block" and token.content.startswith("<!-- needs"):
            comment = _NEEDS.fullmatch(token.content)
            needs = tuple(comment[1].split()) if comment is not None else ()
            if not needs or not set(needs) <= set(NEEDS):
                raise BlockError(f"{page}:{line}: a block needs some of {', '.join(NEEDS)}")
    if needs is not None:
        raise BlockError(f"{page}: what is after a comment on a block is no block")
    return found


def all_blocks() -> Sequence[Block]:
    """Return the blocks of every page."""
    return [block for page in pages() for block in blocks(page)]


def write_files(page: str, directory: Path) -> None:
    """Write the files that a page shows, each of which is a block that begins with a comment on its name."""
    for block in blocks(page):
        if block.file is not None:
            path = directory / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            raise BlockError(f"{block.name}: the first line is no comment with the name of a file")
