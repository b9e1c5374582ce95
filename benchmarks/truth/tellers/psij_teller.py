"""PSI/J: ``JobExecutor.submit``, and each job's status as its executor keeps it; ``attach`` for what is asked about late."""

import datetime
import json
import sys
import time

from psij import Job, JobAttributes, JobExecutor, JobSpec

plan = json.load(sys.stdin)
executor = JobExecutor.get_instance(plan["scheduler"])
jobs, said = {}, {}


def tell(name: str, state: str) -> None:
    means = {"COMPLETED": "success", "FAILED": "failure", "CANCELED": "failure"}.get(state, "open")
    if said.get(name) != state:
        said[name] = state
        print(json.dumps({"name": name, "at": time.time(), "means": means, "words": state}), flush=True)


for one in plan["jobs"]:
    attributes = JobAttributes(duration=datetime.timedelta(minutes=1 if one["limit"] else 15))
    if one["waits"]:
        attributes.set_custom_attribute("slurm.begin", "now+1hour")
    job = Job(JobSpec(executable="/bin/sh", arguments=["-c", one["script"]], directory=plan["work"], attributes=attributes))
    executor.submit(job)
    jobs[one["name"]] = (job, one["late"])
began = time.time()
while time.time() < began + plan["seconds"]:
    for name, (job, late) in list(jobs.items()):
        if late and time.time() > began + plan["late"]:
            other = Job()
            JobExecutor.get_instance(plan["scheduler"]).attach(other, job.native_id)
            jobs[name] = (other, False)
        elif not late:
            tell(name, job.status.state.name)
    time.sleep(1)
