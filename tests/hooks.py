"""The hook scripts of ``etc/hooks``, installed as an administrator would: copied, with the paths in them changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs

HOOKS = Path(__file__).resolve().parent.parent / "etc" / "hooks"


@attrs.frozen
class Hooks:
    """The scripts, by what they are for."""

    jobcomp: Path
    slurmctld: Path
    cli_filter: Path
    grid_engine: Path


def install_hooks(directory: Path, socket: Path, stamps: Path | None = None) -> Hooks:
    """
    :param stamps: a file to which the time of each call and its job are appended.
    """
    directory.mkdir(parents=True)
    sender = directory / "jobpush-nudge"
    text = (HOOKS / "jobpush-nudge").read_text().replace("/var/lib/jobpush/nudge", str(socket))
    sender.write_text(text)
    called = sender
    if stamps is not None:
        called = directory / "stamped-nudge"
        called.write_text(f'#!/bin/sh\necho "$(date +%s.%N) $2" >>{stamps}\nexec {sender} "$@"\n')
        stamps.touch(mode=0o666)
        stamps.chmod(0o666)
    scripts = []
    for name in ("slurm-jobcomp", "slurm-slurmctld", "slurm-cli_filter.lua", "sge-prolog-epilog"):
        path = directory / name
        path.write_text((HOOKS / name).read_text().replace("/usr/local/lib/jobpush/jobpush-nudge", str(called)))
        scripts.append(path)
    for path in (sender, called, *scripts):
        path.chmod(0o755)
    directory.chmod(0o755)
    return Hooks(*scripts)


def install_slurm_submit_hook(directory: Path, script: Path) -> None:
    """Where Slurm's commands look for it: beside slurm.conf."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(script, directory / "cli_filter.lua")
