"""ReFrame: run-only tests whose sanity function asserts that the exit code of their job is 0, run asynchronously."""

import json
import os
import subprocess
import sys
import threading
import time

WORDS = (
    ("[       OK ]", "success", "passed"), ("[     FAIL ]", "failure", "failed"), ("[    ERROR ]", "failure", "failed"),
)  # fmt: skip

plan = json.load(sys.stdin)
os.chdir(plan["work"])
jobs = [one for one in plan["jobs"] if not one["late"]]
scheduler = plan["scheduler"]
with open("config.py", "w") as file:
    file.write(
        "partition = {'name': 'main', 'environs': ['base'], 'launcher': 'local', 'max_jobs': 50,"
        f" 'scheduler': {scheduler!r}}}\nsystem = {{'name': 'lab', 'hostnames': ['.*'], 'partitions': [partition]}}\n"
        "site_configuration = {'systems': [system], 'environments': [{'name': 'base'}]}\n"
    )
tests = ["import reframe as rfm\nimport reframe.utility.sanity as sn\n"]
for one in jobs:
    with open(f"{one['name']}.sh", "w") as file:
        file.write(one["script"])
    wait = ("['--begin=now+1hour']" if scheduler == "slurm" else "['-a 203001010000']") if one["waits"] else "[]"
    tests.append(
        f"@rfm.simple_test\nclass {one['name']}(rfm.RunOnlyRegressionTest):\n"
        f"    valid_systems, valid_prog_environs = ['*'], ['*']\n"
        f"    executable, executable_opts = 'exec', ['/bin/sh', {os.path.abspath(one['name'] + '.sh')!r}]\n"
        f"    time_limit = '{1 if one['limit'] else 15}m'\n"
        f"    @run_before('run')\n    def ask_for(self):\n        self.job.options = {wait}\n"
        "    @sanity_function\n    def passes(self):\n        return sn.assert_eq(self.job.exitcode, 0)\n"
    )
with open("tests.py", "w") as file:
    file.write("\n".join(tests))
command = [
    os.path.join(os.path.dirname(sys.executable), "reframe"), "-C", "config.py", "-c", "tests.py", "-r", "--exec-policy=async",
    "--report-file", "report.json", "--nocolor", "--prefix", plan["work"],
]  # fmt: skip
running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
over = threading.Event()
timer = threading.Timer(plan["seconds"], lambda: (over.set(), running.kill()))
timer.start()
left = {one["name"] for one in jobs}


def tell(name: str, means: str, words: str) -> None:
    print(json.dumps({"name": name, "at": time.time(), "means": means, "words": words}), flush=True)


with open("reframe.log", "w") as log:
    for line in running.stdout:
        print(line, end="", file=log, flush=True)
        for word, means, words in WORDS:
            name = next((one["name"] for one in jobs if f" {one['name']} " in line), None)
            if word in line and name:
                left.discard(name)  # what passes may fail yet, when its files are copied
                tell(name, means, words)
timer.cancel()
for name in left:
    tell(name, "open" if over.is_set() else "unknown", "waited for" if over.is_set() else "nothing")
