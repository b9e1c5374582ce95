"""Each benchmark that the documents name starts, and says what it does: nobody runs them all before a change lands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.service_process import ROOT

#: The benchmarks that have a command line.
COMMANDS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in sorted((ROOT / "benchmarks").rglob("*.py"))
    if "ArgumentParser(" in path.read_text()
]


@pytest.mark.parametrize("module", COMMANDS)
def test_it_starts(module: str) -> None:
    """Its imports are still there."""
    result = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "usage" in result.stdout


def test_there_are_some() -> None:
    """The list above finds them."""
    assert "benchmarks.held" in COMMANDS
    assert Path(ROOT / "benchmarks").is_dir()
