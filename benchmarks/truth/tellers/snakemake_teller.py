"""The Snakemake Slurm executor plugin: a workflow of independent rules, and which of them Snakemake says have failed."""

import json
import os
import re
import subprocess
import sys
import threading
import time

plan = json.load(sys.stdin)
os.chdir(plan["work"])
jobs = [one for one in plan["jobs"] if not one["late"]]
rules = [f"rule all:\n    input: {[one['name'] + '.out' for one in jobs]}\n"]
for one in jobs:
    with open(f"{one['name']}.sh", "w") as file:
        file.write(one["script"])
    extra = ', slurm_extra="\'--begin=now+1hour\'"' if one["waits"] else ""
    rules.append(
        f"rule {one['name']}:\n    output: '{one['name']}.out'\n"
        f"    resources: runtime={1 if one['limit'] else 15}, mem_mb=300{extra}\n"
        f"    shell: '/bin/sh {plan['work']}/{one['name']}.sh && touch {{output}}'\n"
    )
with open("Snakefile", "w") as file:
    file.write("\n".join(rules))
command = [
    os.path.join(os.path.dirname(sys.executable), "snakemake"), "--executor", "slurm", "--jobs", "50", "--keep-going",
    "--latency-wait", "5", "--slurm-no-account",
]  # fmt: skip
running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
over = threading.Event()
timer = threading.Timer(plan["seconds"], lambda: (over.set(), running.kill()))
timer.start()
left = {one["name"] for one in jobs}


def tell(name: str, means: str, words: str) -> None:
    print(json.dumps({"name": name, "at": time.time(), "means": means, "words": words}), flush=True)


with open("snakemake.log", "w") as log:
    for line in running.stdout:
        print(line, end="", file=log, flush=True)
        failed, finished = re.match(r"Error in rule (\w+)", line), re.match(r"Finished jobid: \d+ \(Rule: (\w+)\)", line)
        found = failed or finished
        if found and found[1] in left:
            left.discard(found[1])
            tell(found[1], "failure" if failed else "success", "failed" if failed else "finished")
timer.cancel()
for name in left:
    tell(name, "open" if over.is_set() else "unknown", "waited for" if over.is_set() else "nothing")
