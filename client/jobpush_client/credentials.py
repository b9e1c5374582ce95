"""
Which server is asked if nobody has said which, and who asks it: this host's socket, where the kernel says that; else a token,
from the environment or from the user's own file.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping

from jobpush_client.values import ClientError

#: Where a service of this host listens for its users, as its unit has it; and where it listens else.
USERS_SOCKET = "/run/jobpush/jobpush.sock"
DEFAULT_URL = "http://localhost:8080"


def default_url(environment: Mapping[str, str] = os.environ) -> str:
    """Return the server's address: JOBPUSH_URL, else this host's socket, else its port 8080."""
    url = environment.get("JOBPUSH_URL")
    if url:
        return url
    try:
        is_socket = stat.S_ISSOCK(os.stat(USERS_SOCKET).st_mode)
    except OSError:
        is_socket = False
    return f"unix:{USERS_SOCKET}" if is_socket else DEFAULT_URL


def token_for(url: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """
    Return the token that is sent to a server: JOBPUSH_TOKEN, else that of ``jobpush login``; on a unix socket, where none is
    needed, only the former. None if there is none.

    :raise ClientError: if the file with tokens is readable by others, or is none.
    """
    token = environment.get("JOBPUSH_TOKEN")
    if token:
        return token
    return None if url.startswith("unix:") else _stored(environment).get(_key(url))


def headers_for(url: str, headers: Mapping[str, str]) -> dict[str, str]:
    """
    Return the headers of each request to a server: those that were given, and who asks, unless they say it.

    :raise ClientError: as `token_for` does.
    """
    given = {"Accept": "application/json", **headers}
    if any(name.lower() in ("authorization", "x-slurm-user-token") for name in given):
        return given
    token = token_for(url)
    return given if token is None else {**given, "Authorization": f"Bearer {token}"}


def store(url: str, token: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """
    Keep a token for a server, in place of another one; None forgets it.

    :return: the path of the file, which is the user's alone.
    :raise ClientError: if that cannot be done.
    """
    path = tokens_file(environment)
    tokens = {**_stored(environment), _key(url): token}
    text = json.dumps({key: value for key, value in tokens.items() if value is not None}, indent=2)
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=directory)  # of mode 600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            os.replace(made, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(made)
            raise
    except OSError as error:
        raise ClientError(f"{path}: the token cannot be kept: {error.strerror}") from None
    return path


def tokens_file(environment: Mapping[str, str] = os.environ) -> str:
    """Return the path of the file with the user's tokens."""
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(home, "jobpush", "tokens.json")


def _stored(environment: Mapping[str, str]) -> dict[str, str]:
    path = tokens_file(environment)
    try:
        with open(path, encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ClientError(f"{path} can be read by others than you: chmod 600 {path} (revoke its tokens, if one has)")
            tokens = json.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}") from None
    except ValueError:
        tokens = None
    if not isinstance(tokens, dict) or not all(isinstance(token, str) for token in tokens.values()):
        raise ClientError(f"{path} is no file with tokens: expected JSON with a token for each address")
    return tokens


def _key(url: str) -> str:
    return url.rstrip("/").lower()
