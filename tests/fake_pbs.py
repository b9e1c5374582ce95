"""
A stand-in for PBS's commands, which answers from a file as OpenPBS 23.06 was recorded to do. Run as a program; told from its
name (``qstat``, ``qselect``) and its arguments. It takes exactly the calls that the adapter makes.
"""

from __future__ import annotations

import calendar
import json
import os
import re
import sys
import time
from typing import Any

#: The time, in seconds since the epoch.
now = time.time

DIR = os.path.dirname(os.path.abspath(__file__))


def load() -> dict[str, Any]:
    with open(os.path.join(DIR, "server.json"), encoding="utf-8", errors="surrogateescape") as file:
        return json.load(file)  # type: ignore[no-any-return]


def finished(job: dict[str, Any]) -> bool:
    return job["job_state"] in ("F", "M")


def is_subjob(job_id: str) -> bool:
    return re.search(r"\[[0-9]+\]", job_id) is not None


def print_json(jobs: dict[str, Any]) -> None:
    """With tabs, one value a line; no Jobs where there are none."""
    document = {"timestamp": int(now()), "pbs_version": "23.06.06", "pbs_server": "pbslab", **({"Jobs": jobs} if jobs else {})}
    text = json.dumps(document, indent="\t", ensure_ascii=False).replace('": ', '":\t')
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")


def qstat(server: dict[str, Any], arguments: list[str]) -> int:
    jobs, history = server["jobs"], server.get("history", True)
    if arguments == ["--version"]:
        print("pbs_version = 23.06.06")
        return 0
    if arguments == ["-B", "-f", "-F", "json"]:
        own = {"server_state": "Active", "query_other_jobs": "True", "job_history_enable": str(history), "job_history_duration": "24:00:00"}
        print(json.dumps({"timestamp": int(now()), "Server": {"pbslab": {**own, **server.get("attributes", {})}}}))
        return 0
    if arguments == ["-t", "-w"]:
        live = {job_id: job for job_id, job in jobs.items() if not finished(job)}
        if live:
            print("Job id                         Name            User             Time Use S Queue")
            print("-----------------------------  --------------- ---------------  -------- - ---------------")
        for job_id, job in live.items():
            print(f"{job_id:<30} {str(job['Job_Name'])[:15]:<15} {job['Job_Owner'][:15]:<15} 00:00:00 {job['job_state']} {job['queue']:<15}")
        return 0
    options, ids = [a for a in arguments if a.startswith("-")], [a for a in arguments if not a.startswith("-")]
    if "-x" in options and not history:
        print("qstat: PBS is not configured to maintain job history ", file=sys.stderr)
        print_json({})
        return 0
    expected = {"-x", "-E", "-f", "-F"}, {"-E", "-f", "-F"}, {"-x", "-t", "-f", "-F"}
    if set(options) not in expected or ids[0] != "json":
        print(f"unexpected arguments: {arguments}", file=sys.stderr)
        return 2
    found = {}
    for job_id in ids[1:]:
        family = [i for i in jobs if i == job_id or ("-t" in options and i.replace("[]", "[") and re.sub(r"\[[0-9]+\]", "[]", i) == job_id)]
        found.update({i: jobs[i] for i in family if "-x" in options or not finished(jobs[i])})
    print_json(found)
    return 0 if found else 153


def qselect(server: dict[str, Any], arguments: list[str]) -> int:
    options = [a for a in arguments if not a.startswith("-tm.ge.")]
    stamps = [a.removeprefix("-tm.ge.") for a in arguments if a.startswith("-tm.ge.")]
    if options not in (["-x", "-T"], ["-T"]) or len(stamps) != 1:
        print(f"unexpected arguments: {arguments}", file=sys.stderr)
        return 2
    if options[0] == "-x" and not server.get("history", True):
        print("qselect: PBS is not configured to maintain job history", file=sys.stderr)
        return 0
    since = calendar.timegm(time.strptime(stamps[0], "%Y%m%d%H%M.%S"))
    for job_id, job in server["jobs"].items():
        modified = job.get("modified", 0)
        if modified >= since and (options[0] == "-x" or not finished(job)) and "[]" not in job_id:
            print(job_id)
    return 0


def main() -> int:
    name, arguments = os.path.basename(sys.argv[0]).removeprefix(".fake-"), sys.argv[1:]
    with open(os.path.join(DIR, "log"), "a", encoding="utf-8") as log:
        print(name, *arguments, file=log)
    if os.path.exists(os.path.join(DIR, "fail")) and arguments != ["--version"] and "-B" not in arguments:
        os.unlink(os.path.join(DIR, "fail"))
        print("Connection refused\nqstat: cannot connect to server pbslab (errno=15010)", file=sys.stderr)
        return 255
    return {"qstat": qstat, "qselect": qselect}[name](load(), arguments)


if __name__ == "__main__":
    sys.exit(main())
