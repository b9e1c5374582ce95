"""Parsl: a provider's ``submit`` and ``status``, asked every ten seconds as its executors do."""

import json
import sys
import time

from parsl.launchers import SimpleLauncher
from parsl.providers import GridEngineProvider, SlurmProvider

plan = json.load(sys.stdin)
jobs, said = {}, {}
means = {"COMPLETED": "success", "FAILED": "failure", "CANCELLED": "failure", "TIMEOUT": "failure", "UNKNOWN": "unknown"}
for one in plan["jobs"]:
    walltime = "00:01:00" if one["limit"] else "00:15:00"
    if plan["scheduler"] == "slurm":
        provider = SlurmProvider(
            walltime=walltime, launcher=SimpleLauncher(), exclusive=False,
            scheduler_options="#SBATCH --begin=now+1hour" if one["waits"] else "",
        )  # fmt: skip
    else:
        provider = GridEngineProvider(
            walltime=walltime, launcher=SimpleLauncher(), scheduler_options="#$ -a 203001010000" if one["waits"] else ""
        )
    provider.script_dir = plan["work"]
    path = f"{plan['work']}/{one['name']}.sh"
    with open(path, "w") as file:
        file.write(one["script"])
    jobs[one["name"]] = (provider, provider.submit(f"exec /bin/sh {path}", 1, one["name"]), one["late"])
began = time.time()
while time.time() < began + plan["seconds"]:
    for name, (provider, job, late) in jobs.items():
        if late and time.time() < began + plan["late"]:
            continue
        state = provider.status([job])[0].state.name
        if said.get(name) != state:
            said[name] = state
            print(json.dumps({"name": name, "at": time.time(), "means": means.get(state, "open"), "words": state}), flush=True)
    time.sleep(10)
