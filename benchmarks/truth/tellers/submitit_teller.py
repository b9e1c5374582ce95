"""submitit: ``AutoExecutor.submit`` of a command, and the job's ``state``."""

import json
import sys
import time

import submitit
from submitit.helpers import CommandFunction

plan = json.load(sys.stdin)
jobs, said = {}, {}
for one in plan["jobs"]:
    executor = submitit.AutoExecutor(folder=f"{plan['work']}/logs", cluster="slurm")
    more = {"begin": "now+1hour"} if one["waits"] else {}
    executor.update_parameters(timeout_min=1 if one["limit"] else 15, slurm_additional_parameters=more)
    jobs[one["name"]] = (executor.submit(CommandFunction(["/bin/sh", "-c", one["script"]], verbose=False)), one["late"])
began = time.time()
while time.time() < began + plan["seconds"]:
    for name, (job, late) in jobs.items():
        if late and time.time() < began + plan["late"]:
            continue
        state = job.state
        word = state.split()[0]
        means = "success" if word == "COMPLETED" else "unknown" if word == "UNKNOWN" else "failure"
        if word in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "READY"):
            means = "open"
        if said.get(name) != state:
            said[name] = state
            print(json.dumps({"name": name, "at": time.time(), "means": means, "words": state}), flush=True)
    time.sleep(5)
