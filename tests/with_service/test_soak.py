"""jobpush and many clients that do nothing wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.service_process import ROOT


@pytest.mark.load
def test_soak() -> None:
    """
    100 clients ask in all ways for a third of a minute: all are answered in their time, and at the end what is held is what
    they hold.
    """
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.3", "--clients", "100", "--grace", "10"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "At the end: 90 held of 90 that the clients held" in result.stdout
