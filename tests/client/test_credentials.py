"""Which server is asked if nobody has said which, and what says who asks."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from jobpush_client import ClientError, credentials
from jobpush_client.credentials import DEFAULT_URL, default_url, headers_for, store, token_for, tokens_file

URL = "http://cluster:8080"


class DefaultTests(SynchronousTestCase):
    """`default_url`."""

    def test_order(self) -> None:
        """What the environment says, else this host's socket, where there is one, else the port."""
        directory = os.path.relpath(self.mktemp())
        os.makedirs(directory)
        path = os.path.join(directory, "s")
        self.patch(credentials, "USERS_SOCKET", path)
        self.assertEqual(default_url({}), DEFAULT_URL)
        Path(path).touch()
        self.assertEqual(default_url({}), DEFAULT_URL)
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            self.assertEqual(default_url({}), f"unix:{path}")
            self.assertEqual(default_url({"JOBPUSH_URL": URL}), URL)


class TokenTests(SynchronousTestCase):
    """Tokens, as they are kept and sent."""

    def setUp(self) -> None:
        self.home = os.path.abspath(self.mktemp())
        self.environment = {"HOME": self.home}
        self.path = os.path.join(self.home, ".config", "jobpush", "tokens.json")

    def test_kept(self) -> None:
        """For each address its own, in a file of the user's alone; the last one counts, and it can be forgotten."""
        self.assertIsNone(token_for(URL, self.environment))
        self.assertEqual(store(URL, "jp_a", self.environment), self.path)
        store("http://other:1", "jp_b", self.environment)
        store(URL + "/", "jp_c", self.environment)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.path)).st_mode) & 0o077, 0)
        self.assertEqual([token_for(url, self.environment) for url in (URL, "HTTP://Cluster:8080", "http://other:1", "http://none")],
                         ["jp_c", "jp_c", "jp_b", None])  # fmt: skip
        store(URL, None, self.environment)
        self.assertEqual(json.loads(Path(self.path).read_text()), {"http://other:1": "jp_b"})
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["tokens.json"])

    def test_where(self) -> None:
        """XDG_CONFIG_HOME says where, if it is there."""
        self.assertEqual(tokens_file({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}), "/x/jobpush/tokens.json")
        self.assertEqual(tokens_file({"HOME": "/h"}), "/h/.config/jobpush/tokens.json")

    def test_the_environment(self) -> None:
        """JOBPUSH_TOKEN goes before the file, for every address."""
        store(URL, "jp_a", self.environment)
        for url in (URL, "unix:/s", "http://none"):
            self.assertEqual(token_for(url, {**self.environment, "JOBPUSH_TOKEN": "jp_e"}), "jp_e")
        self.assertIsNone(token_for("unix:/s", self.environment))

    def test_a_file_that_others_can_read(self) -> None:
        """It is not used, and neither is one that holds something else: that is said with its path."""
        store(URL, "jp_a", self.environment)
        for prepare in (
            lambda: os.chmod(self.path, 0o640), lambda: os.chmod(self.path, 0o604), lambda: Path(self.path).write_text("no json"),
            lambda: Path(self.path).write_text("[]"), lambda: Path(self.path).write_text('{"a": 1}'),
        ):  # fmt: skip
            os.chmod(self.path, 0o600)
            prepare()
            error = self.assertRaises(ClientError, token_for, URL, self.environment)
            self.assertIn(self.path, str(error))
            self.assertRaises(ClientError, store, URL, "jp_b", self.environment)

    def test_it_cannot_be_kept(self) -> None:
        """That is said; nothing is left."""
        os.makedirs(self.home)
        Path(self.home, ".config").touch()
        self.assertIn(self.path, str(self.assertRaises(ClientError, store, URL, "jp_a", self.environment)))

    def test_headers(self) -> None:
        """A token is sent, unless the caller says who asks."""
        self.patch(os, "environ", {**self.environment, "JOBPUSH_TOKEN": "jp_e"})
        self.patch(credentials.token_for, "__defaults__", (os.environ,))
        self.assertEqual(headers_for(URL, {"X": "y"}), {"Accept": "application/json", "X": "y", "Authorization": "Bearer jp_e"})
        for name in ("Authorization", "authorization", "X-SLURM-USER-TOKEN"):
            self.assertEqual(headers_for(URL, {name: "mine"}), {"Accept": "application/json", name: "mine"})
