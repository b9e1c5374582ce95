"""A real Slurm with ``auth/jwt``: the tokens of ``scontrol token`` say who asks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import slurm_cluster
from tests.conftest import running
from tests.service_process import ServiceProcess
from tests.slurm_cluster import OTHER_USER, USER, SlurmCluster, wait_until

PLUGIN = "/usr/lib/x86_64-linux-gnu/slurm-wlm/auth_jwt.so"

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.service,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not os.path.exists(PLUGIN), reason="Debian's slurm-wlm-jwt-plugin is not installed"),
]


@pytest.fixture
def jwt_slurm(short_path: Path) -> Iterator[SlurmCluster]:
    """A cluster that signs tokens with a secret of its own."""
    root = short_path / "jwt"
    (root / "state").mkdir(parents=True)
    key = root / "state" / "jwt_hs256.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(32))
    extra = f"AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key={key}\nPrivateData=jobs"
    yield from running(SlurmCluster(root, nodes=1, extra=extra, name="jwt"), slurm_cluster.why_not())


def token(cluster: SlurmCluster, user: str, lifespan: int = 600) -> str:
    """One of that user's, as Slurm makes it."""
    return cluster.command("scontrol", "token", f"lifespan={lifespan}", user=user).partition("=")[2].strip()


def test_tokens(jwt_slurm: SlurmCluster, tmp_path: Path) -> None:
    """Each sees his own job with his own token, and 404 for the other's; one that has expired is 401, and what is held with it ends."""
    mine, theirs = (jwt_slurm.submit(script="sleep 60", user=user) for user in (USER, OTHER_USER))
    service = ServiceProcess(
        tmp_path, "--queue", f"slurm:cluster=jwt:conf={jwt_slurm.conf}:interval=0.5",
        "--auth", f"slurm-jwt:key={jwt_slurm.root}/state/jwt_hs256.key",
    )  # fmt: skip
    service.start()
    try:
        service.ready(60)

        def ask(path: str, shown: str, **more: str) -> Any:
            return service.get(path, headers={"X-SLURM-USER-TOKEN": shown, **more})

        tokens = {user: token(jwt_slurm, user) for user in (USER, OTHER_USER, "root")}
        wait_until(lambda: ask(f"/v1/jobs/jwt/{mine}", tokens[USER]).status == 200, 30)
        wait_until(lambda: ask(f"/v1/jobs/jwt/{theirs}", tokens[OTHER_USER]).status == 200, 30)
        for user, own, other in ((USER, mine, theirs), (OTHER_USER, theirs, mine)):
            jobs = ask("/v1/jobs", tokens[user], **{"X-SLURM-USER-NAME": user}).json["jobs"]
            assert [job["id"] for job in jobs] == [own], user
            assert ask(f"/v1/jobs/jwt/{other}", tokens[user]).status == 404
            assert service.get("/v1/jobs", headers={"Authorization": f"Bearer {tokens[user]}"}).json["jobs"][0]["id"] == own
        assert ask("/v1/jobs", tokens["root"]).json["jobs"] == []
        assert ask("/v1/jobs", tokens[USER], **{"X-SLURM-USER-NAME": OTHER_USER}).status == 400
        assert service.get("/v1/jobs").status == 401
        assert ask("/v1/jobs", tokens[USER][:-6]).status == 401

        wait_until(lambda: ask(f"/v1/jobs/jwt/{mine}", tokens[USER]).json["job"]["state"] == "RUNNING", 30)
        short = token(jwt_slurm, USER, 2)
        begun = time.monotonic()
        assert ask("/v1/changes?since=now&wait=60", short).status == 401
        assert 8 < time.monotonic() - begun < 20, "it is good for its two seconds and the leeway of ten"
        assert "refused: nobody from 127.0.0.1, GET /v1/jobs" in service.log.replace("nobody known", "nobody")
        assert "refused: root" not in service.log
        assert not any(each.split(".")[2] in service.log for each in (*tokens.values(), short))
    finally:
        service.stop()
