"""A real sshd on loopback for the tests, with keys and a configuration of its own, in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.slurm_cluster import free_ports, wait_until

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or ""

SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {root}/host_key
PidFile {root}/sshd.pid
AuthorizedKeysFile {root}/client_key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""

CLIENT = """\
Host login1
  HostName 127.0.0.1
  Port {port}
  IdentityFile {root}/client_key
  UserKnownHostsFile {root}/known_hosts
  StrictHostKeyChecking accept-new
  BatchMode yes
  ConnectTimeout 3
  ControlMaster auto
  ControlPath {root}/control-%C
  ControlPersist 20
"""


def why_not() -> str | None:
    """Why no sshd can be started here; None if it can."""
    if os.geteuid() != 0:
        return "a real sshd needs root"
    if not SSHD or shutil.which("ssh") is None:
        return "a real sshd needs openssh-server and openssh-client"
    return None


class SshServer:
    """
    :param root: an empty directory; its path is short (it holds a socket).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_ports(1)[0]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def prefix(self) -> list[str]:
        """The command that runs a command on the other host."""
        return ["ssh", "-F", str(self.root / "config"), "login1"]

    def _prepare(self) -> None:
        """Make keys and configurations."""
        self.root.mkdir(parents=True)
        for name in ("host_key", "client_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.root / name)], check=True)
        (self.root / "sshd_config").write_text(SERVER.format(port=self.port, root=self.root))
        (self.root / "config").write_text(CLIENT.format(port=self.port, root=self.root))

    def start(self) -> None:
        """Start it, for the first time or again; returns when it answers."""
        if not self.root.exists():
            self._prepare()
        # Where sshd, as root, goes to be without rights.
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        with open(self.root / "log", "ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.root / "sshd_config")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(lambda: self.run("true").returncode == 0, 20, every=0.2)

    def run(self, *argv: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command through it."""
        return subprocess.run([*self.prefix, *argv], capture_output=True, timeout=20, check=False)

    def stop(self) -> None:
        """End it, its sessions, and the client's shared connection."""
        subprocess.run([*self.prefix[:-1], "-O", "exit", "login1"], capture_output=True, timeout=10, check=False)
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
            self.process = None
