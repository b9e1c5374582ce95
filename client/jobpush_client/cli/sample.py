"""
``jobpush sample``: writes the files that an installation needs besides the packages.

They are the data package ``jobpush_samples``, which comes with the service.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jobpush_client.values import ClientError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

#: Each kind, and the file or directory of the data package that it is.
SAMPLES = {
    "toml": "jobpush.toml",
    "unit": "jobpush.service",
    "socket": "jobpush.socket",
    "health": "jobpush-health",
    "nginx": "nginx.conf",
    "haproxy": "haproxy.cfg",
    "hooks": "hooks",
    "parsl": "parsl",
    "snakemake": "snakemake",
}


def run(options: argparse.Namespace) -> int:
    """Write the files of a kind into a directory, and print the path of each."""
    directory = Path(options.directory)
    contents = {directory / name: content for name, content in sorted(sample(options.kind).items())}
    there = [str(path) for path in contents if os.path.lexists(path)]
    if there and not options.force:
        raise ClientError(f"already there, and not overwritten without --force: {', '.join(there)}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, content in contents.items():
            write(path, content)
            print(path)
    except OSError as error:
        raise ClientError(f"{error.filename or directory}: {error.strerror}") from None
    return 0


def sample(kind: str) -> Mapping[str, bytes]:
    """
    Return the files of a kind: names and contents.

    :raise ClientError: if the data package is not installed.
    """
    from importlib.resources import files

    try:
        found = files("jobpush_samples").joinpath(SAMPLES[kind])
        return {each.name: each.read_bytes() for each in _files(found)}
    except (ModuleNotFoundError, FileNotFoundError):
        raise ClientError("the samples are not installed here; they come with the service: pip install jobpush") from None


def _files(found: Traversable) -> list[Traversable]:
    return [each for each in found.iterdir() if each.is_file()] if found.is_dir() else [found]


def write(path: Path, content: bytes) -> None:
    """
    Write a file in one step, so that whoever reads or runs it meanwhile gets the old one or the new one. It is executable if it
    begins with ``#!``, as far as the process's umask lets it be.

    :raise OSError: if it cannot be written; what was there stays.
    """
    umask = os.umask(0)
    os.umask(umask)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, (0o777 if content.startswith(b"#!") else 0o666) & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
