"""A running service and an issuer of tokens that comes late, changes its keys, and goes."""

from __future__ import annotations

import functools
import http.server
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.service_process import ServiceProcess, write_jobs
from tests.signed import claims, jwks, rs256
from tests.slurm_cluster import free_ports, wait_until

pytestmark = [pytest.mark.service]

ISSUER = "https://id.example.org/realms/hpc"


def serve(directory: Path, port: int) -> http.server.ThreadingHTTPServer:
    """The files of a directory, on loopback."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def stop(server: http.server.ThreadingHTTPServer) -> None:
    server.shutdown()
    server.server_close()


def test_issuer(tmp_path: Path) -> None:
    """503 until it is there; then each sees his own; its keys stay while it is gone; new ones come on a timer."""
    jobs, keys, (port,) = tmp_path / "jobs", tmp_path / "keys", free_ports(1)
    write_jobs(jobs, "".join(json.dumps({"id": n, "user": u, "state": "RUNNING"}) + "\n" for n, u in (("1", "kim"), ("2", "lee"))))
    keys.mkdir()
    (keys / "certs").write_bytes(jwks(0))
    config = tmp_path / "jobpush.toml"
    config.write_text(
        f'private = true\n[[queue]]\ntype = "mock"\nfile = "{jobs}"\ninterval = 0.1\n[[auth]]\ntype = "oidc"\nissuer = "{ISSUER}"\n'
        f'audience = "jobpush"\njwks = "http://127.0.0.1:{port}/certs"\nmap = "users.toml"\nrefresh = 10\n'
    )
    (tmp_path / "users.toml").write_text('"kim@example.org" = "kim"\n"lee@example.org" = "lee"\n')

    def token(user: str, number: int = 0) -> str:
        said: dict[str, Any] = {"sun": None, "iss": ISSUER, "aud": "jobpush", "preferred_username": f"{user}@example.org"}
        return rs256(claims(time.time(), **said), number)

    service = ServiceProcess(tmp_path / "run", "--config", str(config))
    service.start()
    server = None
    try:
        service.ready()

        def ask(user: str, number: int = 0) -> Any:
            reply = service.get("/v1/jobs", headers={"Authorization": f"Bearer {token(user, number)}"})
            return [job["id"] for job in reply.json["jobs"]] if reply.status == 200 else reply.status

        assert ask("kim") == 503
        server = serve(keys, port)
        wait_until(lambda: ask("kim") == ["1"], 20)
        assert (ask("lee"), ask("eve"), ask("kim", 1)) == (["2"], 401, 401)
        stop(server)
        (keys / "certs").write_bytes(jwks(1))
        wait_until(lambda: "those that are known stay" in service.log, 30)
        assert ask("kim") == ["1"]
        server = serve(keys, port)
        wait_until(lambda: ask("kim", 1) == ["1"], 30)
        assert ask("kim") == 401
        assert "refused: eve@example.org from 127.0.0.1" in service.log
    finally:
        service.stop()
        if server is not None:
            stop(server)
