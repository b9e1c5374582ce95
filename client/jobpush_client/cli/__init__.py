"""
``jobpush``: the command for people and scripts that wait for jobs.

Each subcommand is a module of its own, loaded when it is run, so that the plain ones start quickly.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from jobpush_client import __version__
from jobpush_client.cli.sample import SAMPLES
from jobpush_client.credentials import DEFAULT_URL
from jobpush_client.values import ApiError, ClientError, Unknown, Unreachable, WaitTimeout

#: Exit codes that say what became of the command itself. Those of jobs are in `jobpush_client.cli.codes`.
USAGE, TIME_IS_UP, INTERRUPTED = 2, 124, 130
UNKNOWN_JOB, UNREACHABLE, REFUSED = 240, 241, 242

EPILOG = """\
exit status of wait and submit:
  0          all ended well (or have started, with --until started)
  1-219      the exit code of the job that failed; of several the highest. 128+N: ended by signal N
  220        cancelled                226        preempted
  221        over its time limit      227        moved to another cluster
  222        out of memory            228        lost: how it ended cannot be known
  223        a node failed            229        failed without an exit code
  224        could not be launched
  225        over its deadline
of every command:
  2          the command line is wrong
  124        the time of --timeout is up
  130        interrupted (Ctrl-C)
  240        no scheduler knows that job
  241        the server cannot be reached
  242        the server refuses
"""

SAMPLE_EPILOG = """\
  toml       jobpush.toml, a configuration with each setting explained: /etc/jobpush
  unit       jobpush.service, for systemd: /etc/systemd/system
  socket     jobpush.socket, beside it: a restart refuses no connection
  health     jobpush-health, a check for monitoring: /usr/local/lib/jobpush
  nginx      nginx.conf, for nginx in front of the service: /etc/nginx/conf.d
  haproxy    haproxy.cfg, for HAProxy in front of the service: /etc/haproxy
  hooks      the hooks of Slurm, Grid Engine and PBS: /usr/local/lib/jobpush
  parsl      jobpush_parsl.py, a provider for Parsl: beside your program
  snakemake  config.yaml, a profile for Snakemake: a directory of its own
"""

ONE_ID = "4711, slurm/4711 or slurm/4711_3"

FILTERS = ("cluster", "user", "account", "state", "name", "comment", "queue", "workflow")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--url", default=None, metavar="URL",
        help="the server: http://HOST:PORT or unix:/PATH (default: $JOBPUSH_URL, else the socket of this host's, else http://localhost:8080)",
    )  # fmt: skip
    common.add_argument(
        "--patience", type=seconds, default=300.0, metavar="SECONDS",
        help="how long to try again while the server cannot be reached (default: 300; inf: for ever)",
    )  # fmt: skip
    waits = argparse.ArgumentParser(add_help=False)
    waits.add_argument(
        "--until", choices=("started", "terminal"), default="terminal",
        help="wait until they have started or ended (default: terminal)",
    )  # fmt: skip
    waits.add_argument("--timeout", type=seconds, metavar="SECONDS", help="wait no longer than this (exit status 124)")
    waits.add_argument("--json", action="store_true", help="print each job as a line of JSON")
    waits.add_argument("-q", "--quiet", action="store_true", help="print nothing; the exit status tells")
    filters = argparse.ArgumentParser(add_help=False)
    for name in FILTERS:
        filters.add_argument(f"--{name}", action="append", metavar=name.upper(), help=f"only of this {name} (repeatable)")
    filters.add_argument("--job", action="append", metavar="ID", help="only this job or array (repeatable)")

    root = argparse.ArgumentParser(
        prog="jobpush", description="Wait for batch jobs, and see what becomes of them.", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    root.add_argument("--version", action="version", version=f"jobpush {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *parents: argparse.ArgumentParser, epilog: str | None = None) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".", parents=[common, *parents], epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip

    wait = command("wait", "wait until jobs have ended, and exit as they did", waits, epilog=EPILOG)
    wait.add_argument("ids", nargs="+", metavar="ID", help="4711, slurm/4711, slurm/4711_3 …; - reads ids from standard input")
    how = wait.add_mutually_exclusive_group()
    how.add_argument("--all", action="store_const", const="all", dest="mode", default="all", help="all of them (the default)")
    how.add_argument("--any", action="store_const", const="any", dest="mode", help="the first of them")
    how.add_argument("-n", type=positive, dest="mode", metavar="N", help="this many of them")

    submit = command(
        "submit", "run sbatch or qsub, and wait for the job that it submits", waits,
        epilog="example: jobpush submit -- sbatch --time 10 job.sh\n\n" + EPILOG,
    )  # fmt: skip
    submit.add_argument("--cluster", help="the cluster's name at the server, where several are served")
    submit.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND …", help="the scheduler's own command")

    show = command("show", "show a job and its history")
    show.add_argument("id", metavar="ID", help=ONE_ID)
    show.add_argument("--json", action="store_true", help="print what the server says")

    tail = command("tail", "print each change as a line, as it comes", filters)
    tail.add_argument("--since", metavar="CURSOR", help="begin after this cursor; 0: with the oldest kept (default: now)")
    tail.add_argument("--json", action="store_true", help="print each event as a line of JSON")

    watch = command("watch", "show a table of jobs that follows them (needs the extra: pip install 'jobpush[cli]')", filters)
    watch.add_argument(
        "--ended", type=seconds, default=300.0, metavar="SECONDS", help="how long to show a job after its end (default: 300)"
    )

    status = command("status", "print a job's state in one word, for workflow engines")
    status.add_argument("id", metavar="ID", help=ONE_ID)
    status.add_argument(
        "--format", choices=("plain", "snakemake", "nextflow"), default="plain",
        help="the words of that engine (default: jobpush's own, such as RUNNING)",
    )  # fmt: skip

    text = "write the files that an installation needs besides the packages"
    sample = commands.add_parser(
        "sample", help=text, description=text[0].upper() + text[1:] + ", and print the path of each.", epilog=SAMPLE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    sample.add_argument("kind", choices=tuple(SAMPLES), help="which files (see below)")
    sample.add_argument("directory", metavar="DIR", help="where to; it is made if it is not there")
    sample.add_argument("--force", action="store_true", help="write over files that are there already")

    login = command("login", "make a token for a server's port, where this host's socket says who you are")
    login.add_argument(
        "--server", default=DEFAULT_URL, metavar="URL", help=f"for which address the token is kept (default: {DEFAULT_URL})"
    )
    login.add_argument("--hours", type=seconds, metavar="HOURS", help="for how long it is good (default: 12)")
    login.add_argument(
        "--scope", action="append", choices=("read", "watch", "nudge", "workflow", "metrics"),
        help="what it is good for (repeatable; default: all)",
    )  # fmt: skip
    login.add_argument("--label", help="what you call it (default: the name of this host)")
    login.add_argument("--print", action="store_true", help="print it in place of keeping it, for JOBPUSH_TOKEN")
    users = command("users", "add, remove or list those who may sign in with a password (--auth users of the service)")
    users.add_argument("action", choices=("add", "remove", "list"), help="add also gives a new password and other roles")
    users.add_argument("name", nargs="?", metavar="NAME", help="of the user")
    users.add_argument("--file", default="/etc/jobpush/users", metavar="PATH", help="the file (default: /etc/jobpush/users)")
    users.add_argument("--role", action="append", default=[], choices=("operator", "admin"), help="repeatable (default: none)")
    users.add_argument("--stdin", action="store_true", help="take the password from standard input")
    token = command("token", "list or revoke the tokens that you have made")
    token.add_argument("action", choices=("list", "revoke"), help="what to do with them")
    token.add_argument("ids", nargs="*", metavar="ID", help="of those that are revoked; or all")

    journal = commands.add_parser(
        "journal",
        help="check the service's journal, or salvage what can be read of a damaged one",
        description="Check the journal of a service, or make a new one of what can be read of a damaged one.",
        epilog="exit status: 0 if it is well, or salvaged; 1 if it is damaged; 2 if nothing can be done",
    )
    journal.add_argument("action", choices=("check", "salvage"), help="salvage needs the service to be stopped")
    journal.add_argument("directory", metavar="DIR", help="the state directory of the service (--state)")

    completion = commands.add_parser(
        "completion", help="print a shell's completion script", description="Print a shell's completion script."
    )
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    return root


def seconds(text: str) -> float:
    """A number of seconds that is not negative."""
    value = float(text)
    if not value >= 0:
        raise ValueError
    return value


def positive(text: str) -> int:
    """A whole number above zero."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit status."""
    options = parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = import_module(f"jobpush_client.cli.{options.command}").run
    try:
        return run(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except WaitTimeout as error:
        return complain(str(error), TIME_IS_UP)
    except Unreachable as error:
        return complain(f"the server cannot be reached: {error}", UNREACHABLE)
    except Unknown as error:
        return complain(str(error), UNKNOWN_JOB)
    except ApiError as error:
        return complain(f"the server refuses: {error}", REFUSED)
    except ClientError as error:
        return complain(str(error), USAGE)


def complain(text: str, status: int) -> int:
    """Say what is wrong; the exit status."""
    print(f"jobpush: {text}", file=sys.stderr)
    return status


def script() -> None:
    """The console script."""
    sys.exit(main())
