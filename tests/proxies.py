"""A real nginx and a real HAProxy in front of a service on loopback, in a directory of their own, as the samples have them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.service_process import ROOT
from tests.slurm_cluster import free_ports, wait_until


class Proxy:
    """
    One proxy, by its sample.

    :param directory: for its files.
    :param service_port: of the service that it stands in front of.
    :param cuts_s: seconds after which it gives up an answer of which nothing comes; as the sample has it, if None.
    :param users: the service's unix socket: all that comes is asked there for kim, in the header X-Remote-User.
    """

    name = ""

    def __init__(self, directory: Path, service_port: int, cuts_s: int | None = None, users: str | None = None) -> None:
        self.directory = directory
        self.service_port = service_port
        self.cuts_s = cuts_s
        self.users = users
        self.port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None

    def sample(self, name: str) -> str:
        """Return a sample, with the ports of this run, and its time-out."""
        text = (ROOT / "etc" / name).read_text().replace("127.0.0.1:8080", f"127.0.0.1:{self.service_port}")
        text = re.sub(r"127\.0\.0\.1:844[34]", f"127.0.0.1:{self.port}", text)
        if self.cuts_s is not None:
            text = re.sub(r"(proxy_read_timeout|timeout server) 630s", rf"\1 {self.cuts_s}s", text)
            text = text.replace("timeout tunnel 1h", f"timeout tunnel {self.cuts_s}s")
        if self.users is not None:
            address = f"127.0.0.1:{self.service_port}"
            text = text.replace(f"server jobpush {address}", f"server jobpush unix@{self.users}")
            text = text.replace(f"server {address}", f"server unix:{self.users}")
            sets = 'proxy_set_header X-Remote-User kim;\n        proxy_set_header Authorization "";\n        proxy_read_timeout'
            text = text.replace("proxy_read_timeout", sets, 1)
            sets = "http-request set-header X-Remote-User kim\n    http-request del-header Authorization\n    option forwardfor"
            text = text.replace("option forwardfor", sets)
        return text

    def command(self) -> list[str]:
        """Write its files, and return the command that starts it."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it; returns when it accepts connections."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = self.command()
        with open(self.directory / "output", "wb") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        wait_until(self._accepts, 10)

    def _accepts(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.name} ended: {(self.directory / 'output').read_text()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)


class Nginx(Proxy):
    """nginx, one process."""

    name = "nginx"

    def command(self) -> list[str]:
        # For the clients of tests HTTP/1.1; with http2 and without TLS this nginx would speak HTTP/2 alone.
        (self.directory / "sample.conf").write_text(self.sample("nginx.conf").replace(" http2;", ";"))
        temporary = "".join(
            f"    {kind}_temp_path {self.directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = (
            f"daemon off;\nmaster_process off;\npid {self.directory}/pid;\nerror_log {self.directory}/error.log;\n"
            f"events {{ worker_connections 2000; }}\nhttp {{\n    access_log off;\n{temporary}"
            f"    include {self.directory}/sample.conf;\n}}\n"
        )
        (self.directory / "nginx.conf").write_text(text)
        path = program("nginx")
        return [path, "-c", str(self.directory / "nginx.conf"), "-e", str(self.directory / "error.log"), "-p", str(self.directory)]


class HAProxy(Proxy):
    """HAProxy, one process."""

    name = "HAProxy"

    def command(self) -> list[str]:
        text = self.sample("haproxy.cfg").replace("maxconn 20000", "maxconn 2000")  # as many files as this host lets it open
        (self.directory / "haproxy.cfg").write_text(text)
        return [program("haproxy"), "-db", "-f", str(self.directory / "haproxy.cfg")]


def program(name: str) -> str:
    """Return the path of a program of Debian's; it may stand where only root looks."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError(name)
    return found


KINDS: dict[str, Callable[..., Proxy]] = {"nginx": Nginx, "haproxy": HAProxy}


def missing() -> list[str]:
    """Return the names of the programs that are not installed here."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    return [name for name in KINDS if shutil.which(name, path=path) is None]
