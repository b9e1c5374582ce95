"""The examples of the documentation, run as they are written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service_process import ROOT, ServiceProcess, twistd_environment, write_jobs

pytestmark = [pytest.mark.service]

JOBS = [
    {"id": "1", "state": "COMPLETED", "exit_code": 0, "user": "kim", "ended_at": "2026-11-22T10:05:00Z"},
    {"id": "2", "state": "FAILED", "exit_code": 3, "user": "kim"},
    {"id": "3", "state": "RUNNING", "user": "lee"},
]


def test_python(tmp_path: Path) -> None:
    """docs/python.md: each block ends well, and says what its reader would expect."""
    write_jobs(tmp_path / "jobs", "".join(json.dumps(job) + "\n" for job in JOBS))
    service = ServiceProcess(tmp_path / "service", "--queue", f"mock:file={tmp_path / 'jobs'}:interval=0.1")
    service.start()
    try:
        service.ready()
        said = []
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL):
            program = block.replace("localhost:8080", f"localhost:{service.port}")
            ended = subprocess.run(
                [sys.executable, "-c", program], env=twistd_environment(None), cwd=ROOT, capture_output=True, text=True, timeout=60,
                check=False,
            )  # fmt: skip
            assert ended.returncode == 0, program + ended.stderr
            said.append(ended.stdout.splitlines())
        assert said[0] == ["COMPLETED 0 2026-11-22 10:05:00+00:00"]
        assert sorted(said[1][:2]) == ["mock/1 COMPLETED", "mock/2 FAILED"]
        assert [line.split()[-2:] for line in said[2]] == [["mock/1", "COMPLETED"], ["mock/2", "FAILED"]]
        assert said[3][0] == "still RUNNING"
        assert "no-such-job" in said[3][1]
        assert said[4] == ["FAILED {'COMPLETED': 1, 'FAILED': 1}"]
        assert said[5][0] == "COMPLETED"
    finally:
        service.stop()
