"""``qstat`` of a stand-in for PBS, for what is not just printed: DIRECTORY, then its arguments. See ``ticks.py``."""

import json
import sys


def main(directory: str, arguments: list[str]) -> None:
    """The version, the server, or the attributes of these jobs: those of one recorded job, in the state of each."""
    if arguments == ["--version"]:
        print("pbs_version = 23.06.06")
        return
    if "-B" in arguments:
        print(json.dumps({"Server": {"pbslab": {"job_history_enable": "True", "query_other_jobs": "True"}}}))
        return
    with open(f"{directory}/job") as file:
        job = json.load(file)
    with open(f"{directory}/letters") as file:
        letters = json.load(file)
    jobs = {}
    for job_id in (argument for argument in arguments if argument.endswith(".pbslab")):
        letter = letters[int(job_id.split(".")[0]) - 1]
        jobs[job_id] = {**job, "job_state": letter, "Hold_Types": "u" if letter == "H" else "n"}
    print(json.dumps({"timestamp": 1, "Jobs": jobs}, indent="\t").replace('": ', '":\t'))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
