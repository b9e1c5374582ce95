"""Where a journal may be. Who has the directory, and what is refused, is tested in test_journal.py: it is the journal's."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from jobpush.events.state_directory import NETWORK_FILE_SYSTEMS, file_system_of


class FileSystemTests(SynchronousTestCase):
    """`file_system_of`."""

    def test_network_file_systems(self) -> None:
        """The mount that holds a path tells its kind."""
        table = self.mktemp()
        with open(table, "w") as file:
            file.write("22 1 8:1 / / rw - ext4 /dev/sda rw\n")
            file.write("23 22 0:5 / /home rw,relatime shared:1 - nfs4 server:/home rw\n")
            file.write("24 23 0:6 / /home/local\\040disk rw - xfs /dev/sdb rw\n")
        for path, kind in {"/home/kim": "nfs4", "/var/lib": "ext4", "/home/local disk/x": "xfs", "/homes": "ext4"}.items():
            self.assertEqual(file_system_of(path, table), kind)
        self.assertIn("nfs4", NETWORK_FILE_SYSTEMS)
        self.assertEqual(file_system_of("/", "/nonexistent"), "")
        with open(table, "a") as file:
            file.write("25 23 0:7 / /home rw - zfs pool/home rw\n")
            file.write("26 23 0:7 / /mnt/\udcff rw - zfs pool/home rw\n".encode("utf-8", "surrogateescape").decode("latin-1"))
        for path, kind in {"/home": "zfs", "/home/kim": "zfs", "/home/local disk": "xfs", "/": "ext4"}.items():
            self.assertEqual(file_system_of(path, table), kind, "of two mounts on one place the later one is seen")
        link = self.mktemp()
        os.symlink("/home/kim", link)
        self.assertEqual(file_system_of(link, table), "zfs")
        with open(table, "w") as file:
            file.write("22 1\n")
        self.assertEqual(file_system_of("/", table), "")
