"""
Finds the schedulers of this host by their files. PBS, Torque, Grid Engine and Slurm's wrappers all have a ``qstat``.

Reads files and the environment; runs nothing.
"""

from __future__ import annotations

import glob
import os
import shutil

#: Programs of Grid Engine alone, and of PBS and Torque alone, that stand beside their ``qstat``.
_GRID_ENGINE = ("qconf", "qacct", "qmod")
_PBS = ("pbsnodes", "qmgr", "qselect", "pbsdsh")


def detect_slurm() -> str | None:
    """Return evidence of Slurm: the path of ``squeue``."""
    return shutil.which("squeue")


def detect_grid_engine() -> str | None:
    """Return evidence of Grid Engine: one of its own programs beside ``qstat``, on PATH or where SGE_ROOT says."""
    root = os.environ.get("SGE_ROOT", "")
    installed = sorted(glob.glob(os.path.join(glob.escape(root), "bin", "*", "qstat"))) if os.path.isabs(root) else []
    return _beside_qstat(_GRID_ENGINE, ()) or (f"SGE_ROOT={root}, with {installed[0]}" if installed else None)


def detect_pbs() -> str | None:
    """Return evidence of PBS or Torque: one of their own programs beside a ``qstat`` that is no wrapper of Slurm's."""
    # Grid Engine has a qselect too.
    return _beside_qstat(_PBS, _GRID_ENGINE)


def _beside_qstat(own: tuple[str, ...], others: tuple[str, ...]) -> str | None:
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        qstat = os.path.join(directory, "qstat")
        if not os.path.isabs(directory) or not os.access(qstat, os.X_OK):
            continue
        has = [name for name in own if os.access(os.path.join(directory, name), os.X_OK)]
        if has and not any(os.access(os.path.join(directory, name), os.X_OK) for name in others) and not _is_slurms(qstat):
            return f"{qstat}, with {has[0]} beside it"
    return None


def _is_slurms(path: str) -> bool:
    """Return whether it is one of the scripts that Slurm has for people who know Torque's commands."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return head.startswith(b"#!") and b"slurm" in head.lower()
