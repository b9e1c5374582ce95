"""
``jobpush users``: who may sign in with a password, in the file of ``--auth users``. (Tests: tests/client/cli/test_users.py.)
"""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
import tempfile

from jobpush_client.values import ClientError

#: As the service takes them.
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@+\\-]{0,254}\$?")
ROLES = ("operator", "admin")

#: Characters of a password, at least; bytes, at most.
SHORTEST, LONGEST = 12, 1024

HEAD = "# Who may sign in: NAME:ROLES:HASH. Written by jobpush users.\n"


def run(options: argparse.Namespace) -> int:
    """Add a user, or give one a new password and other roles; remove one; or list them."""
    if (options.name is None) != (options.action == "list"):
        raise ClientError(f"{options.action} takes {'no name' if options.name else 'the name of a user'}")
    lines = _read(options.file, options.action == "add")
    if options.action == "list":
        for line in lines:
            if _name(line):
                name, roles, _ = line.split(":", 2)
                print(f"{name}  {roles or '-'}")
        return 0
    others = [line for line in lines if _name(line) != options.name]
    if options.action == "remove":
        if len(others) == len(lines):
            raise ClientError(f"{options.file} has no user {options.name}")
        _write(options.file, others)
        return 0
    if not _NAME.fullmatch(options.name):
        raise ClientError(f"{options.name!r} cannot be the name of a user")
    hashed = _hash(_password(options.stdin))
    _write(options.file, [*(others or [HEAD]), f"{options.name}:{','.join(sorted(set(options.role)))}:{hashed}\n"])
    return 0


def _name(line: str) -> str:
    """Return the name in a line; empty for a comment."""
    return "" if line.startswith("#") or not line.strip() else line.partition(":")[0]


def _read(path: str, may_lack: bool) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return [line.rstrip("\n") + "\n" for line in file]
    except FileNotFoundError:
        if may_lack:
            return []
        raise ClientError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ClientError(f"{path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None


def _write(path: str, lines: list[str]) -> None:
    """Put a new file in place of the old one, whose owner and rights it has; a first one is for its owner and group."""
    directory = os.path.dirname(os.path.abspath(path))
    try:
        number, name = tempfile.mkstemp(dir=directory, prefix=".users-")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
                try:
                    old = os.stat(path)
                except FileNotFoundError:
                    os.fchmod(file.fileno(), 0o640)
                else:
                    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                        os.fchown(file.fileno(), old.st_uid, old.st_gid)
                    os.fchmod(file.fileno(), old.st_mode & 0o660)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise ClientError(f"{path}: it cannot be written: {error.strerror}") from None


def _password(stdin: bool) -> str:
    """Ask for a password twice, or take the first line of standard input."""
    if stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise ClientError("the two are not the same")
    if len(password) < SHORTEST or len(password.encode()) > LONGEST:
        raise ClientError(f"a password has {SHORTEST} characters or more, and {LONGEST} bytes at most")
    return password


def _hash(password: str) -> str:
    try:
        from argon2 import PasswordHasher
    except ImportError:
        raise ClientError("this needs argon2-cffi: pip install 'jobpush[users]'") from None
    return PasswordHasher().hash(password)
