"""``jobpush users``: the file of those who may sign in."""

from __future__ import annotations

import contextlib
import getpass
import io
import os
import stat
import sys

from twisted.trial.unittest import SynchronousTestCase

from jobpush.web.users_file import read_users
from jobpush_client.cli import main


class UsersTests(SynchronousTestCase):
    """The subcommand, and what the service makes of its file."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())

    def users(self, *words: str, password: str = "") -> tuple[int, list[str], str]:
        """The exit status, the lines on standard output, and standard error."""
        self.patch(sys, "stdin", io.StringIO(password + "\n"))
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = main(["users", *words, "--file", self.path, *(["--stdin"] if password else [])])
        return status, out.getvalue().splitlines(), err.getvalue()

    def test_add_list_remove(self) -> None:
        """The service reads what it writes; it is for the owner and the group alone, and rights that it has stay."""
        self.assertEqual(self.users("add", "kim", password="correct horse"), (0, [], ""))
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o640)
        self.users("add", "op", "--role", "operator", "--role", "admin", password="battery staple")
        os.chmod(self.path, 0o600)
        self.assertEqual(self.users("list")[:2], (0, ["kim  -", "op  admin,operator"]))
        before = read_users(self.path)
        self.assertEqual({name: sorted(role.value for role in user.roles) for name, user in before.items()}, {"kim": [], "op": ["admin", "operator"]})
        self.users("add", "kim", "--role", "operator", password="another one of kim's")
        after = read_users(self.path)
        self.assertEqual((before["op"], before["kim"].hash == after["kim"].hash, len(after["kim"].roles)), (after["op"], False, 1))
        self.assertEqual(self.users("remove", "kim")[0], 0)
        self.assertEqual((list(read_users(self.path)), stat.S_IMODE(os.stat(self.path).st_mode)), (["op"], 0o600))
        self.assertEqual([name for name in os.listdir(os.path.dirname(self.path)) if name.startswith(".users-")], [])

    def test_asked_twice(self) -> None:
        """Without --stdin it is asked for, and what is typed is not shown."""
        said = iter(["correct horse", "correct horse", "correct horse", "correct house"])
        self.patch(getpass, "getpass", lambda prompt: next(said))
        self.assertEqual(self.users("add", "kim")[0], 0)
        self.assertIn("not the same", self.users("add", "kim")[2])

    def test_errors(self) -> None:
        """Each says what is wrong, and the file stays as it is."""
        self.users("add", "kim", password="correct horse")
        with open(self.path) as file:
            text = file.read()
        for words, password, expected in (
            (("add", "kim"), "short", "12 characters"), (("add", "a:b"), "correct horse", "cannot be the name"), (("add", "@a"), "correct horse", "cannot be"),
            (("remove", "lee"), "", "no user lee"), (("remove",), "", "takes the name"), (("list", "kim"), "", "takes no name"),
        ):  # fmt: skip
            status, _, err = self.users(*words, password=password)
            self.assertNotEqual(status, 0)
            self.assertIn(expected, err)
        with open(self.path) as file:
            self.assertEqual(file.read(), text)
        os.unlink(self.path)
        self.assertIn("no such file", self.users("list")[2])
