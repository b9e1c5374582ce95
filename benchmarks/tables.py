"""What the tables of the benchmarks have in common."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.cpu import CpuTime, user_share
from benchmarks.load import Cores


def middle(values: Iterable[float], digits: int = 0) -> str:
    """Return the median, with the least and the most in parentheses."""
    found = sorted(values)
    if not found:
        return "-"
    low, mid, high = (f"{value:.{digits}f}" for value in (found[0], statistics.median(found), found[-1]))
    return mid if low == high else f"{mid} ({low}-{high})"


def parts(times: Sequence[CpuTime], digits: int, scale: float = 1.0) -> str:
    """Return the median of CPU times, times ``scale``, as user and system ("0.021 + 0.046"); "-" if that is not known."""
    share = user_share(times)
    if share is None:
        return "-"
    total = scale * statistics.median(one.total for one in times)
    return f"{total * share:.{digits}f} + {total * (1 - share):.{digits}f}"


def others_note(shares: Iterable[float]) -> str:
    """Return what other processes took of the server's cores meanwhile; a share for each pass."""
    return f"Meanwhile other processes took {middle(100 * share for share in shares)} % of the server's cores"


def row(cells: Iterable[object]) -> str:
    """Return one row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def header(columns: Sequence[str]) -> list[str]:
    """Return the first two rows of a Markdown table."""
    return [row(columns), f"{'|---' * len(columns)}|"]


def machine_line(versions: Iterable[str], cores: Cores | None = None) -> str:
    """Return where and what was measured, and how the cores were divided, if they were."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    divided = f" ({cores})" if cores is not None else ""
    return (
        f"{model or platform.machine()}, {os.cpu_count()} cores{divided}, {platform.system()} {platform.release()}, Python "
        f"{'; '.join([platform.python_version(), *dict.fromkeys(versions)])}"
    )


def put_between(page: Path, mark: str, text: str) -> None:
    """
    Replace what stands between two marks of a Markdown page.

    :raise SystemExit: the page does not have them.
    """
    begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
    before, found, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{page} has no {begin.strip()} … {end}")
    page.write_text(f"{before}{begin}{text}\n{end}{after}")
