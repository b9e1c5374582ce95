"""
The factories of jobpush's plugins: they load an adapter when they are asked to make a queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from jobpush.adapter.interfaces import BadQueueOption, IBatchQueueFactory, IBatchQueueService, IQueueReactor
from jobpush.adapter.kinds import (
    Command,
    FarPath,
    Name,
    Number,
    Path,
    PathOrServers,
    PathWhereCommandsRun,
    WholeNumber,
    YesNo,
    YesNoAuto,
)
from jobpush.adapter.options import DeclaredOptions, option, read_options
from jobpush_adapters.common.detect import detect_grid_engine, detect_pbs, detect_slurm

if TYPE_CHECKING:
    from jobpush_adapters.common.base import CommonArguments
    from jobpush_adapters.mock.queue import MockArguments


def _cluster(kind: str, example: str) -> str:
    return option(Name(), kind, "the name under which its jobs are served", example=example, in_sample=True)


def _timeout(seconds: float) -> float:
    return option(Number("seconds"), seconds, "seconds after which a query has failed")


def _grace(seconds: float) -> float:
    return option(Number("seconds"), seconds, "seconds for which a job that left the queue may lack a record of its end")


def _follow(help: str, example: str, default_text: str = "") -> str | None:
    return option(Path(), None, help, default_text=default_text, example=example)


@attrs.frozen
class AdapterOptions:
    """The options of every queue."""

    interval: float | None = option(
        Number("seconds"), None, "seconds between two queries", default_text="2, and longer while nobody waits", example=2
    )
    timeout: float = _timeout(20.0)
    grace: float = _grace(60.0)


@attrs.frozen
class CommandOptions(AdapterOptions):
    """The options of a queue that runs commands."""

    bin: FarPath | None = option(
        PathWhereCommandsRun("DIRECTORY"),
        None,
        "where its commands are",
        default_text="along PATH",
        example="/opt/scheduler/bin",
    )
    prefix: tuple[str, ...] = option(
        Command(),
        (),
        "a command that runs its commands on another host, such as ssh -o BatchMode=yes login1",
        example=("ssh", "-o", "BatchMode=yes", "login1"),
    )

    def path(self, path: FarPath | None) -> str | None:
        """Return the path as the host on which the commands run has it."""
        if path is None:
            return None
        return path.text if self.prefix else path.here

    def common(self) -> CommonArguments:
        """Return the arguments that every queue with commands takes."""
        return {
            "interval": self.interval,
            "timeout": self.timeout,
            "grace": self.grace,
            "prefix": self.prefix,
            "directory": self.path(self.bin),
        }


@attrs.frozen
class SlurmOptions(CommandOptions):
    """The options of ``--queue slurm``."""

    cluster: str = _cluster("slurm", "alpha")
    conf: FarPath | str | None = option(
        PathOrServers(".conf"),
        None,
        "the path of slurm.conf; or, where there is none (configless), the hosts of slurmctld",
        default_text="SLURM_CONF or SLURM_CONF_SERVER of the environment, or what Slurm finds",
        example="/etc/slurm/slurm.conf",
    )
    clusters: str | None = option(
        Name(), None, "another cluster of the same accounting database, as in squeue --clusters", example="beta"
    )
    follow: str | None = _follow(
        "a log whose lines say when to look: slurmctld's, or what JobCompType=jobcomp/filetxt writes",
        "/var/log/slurm/slurmctld.log",
    )
    probe: bool | None = option(
        YesNoAuto(),
        None,
        "ask slurmctld every 0.15 s, by libslurm, whether anything has changed",
        default_text="auto, which is yes on the cluster's own hosts with a tested version of libslurm, if no log is followed",
        example="auto",
    )


@implementer(IPlugin, IBatchQueueFactory)
class SlurmFactory(DeclaredOptions):
    """``--queue slurm``."""

    queue_type = "slurm"
    queue_help = "Slurm: squeue for all jobs, sacct for those that left"
    options_class = SlurmOptions

    def generate_queue(self, reactor: object, options: Mapping[str, object]) -> IBatchQueueService:
        from jobpush_adapters.slurm.queue import SlurmQueue

        read = read_options(SlurmOptions, options)
        if read.probe and (read.clusters or read.prefix):
            raise BadQueueOption("probe=yes: expected neither clusters= nor prefix=, which are of other hosts")
        if read.clusters is not None and read.clusters.lower() == "all":
            raise BadQueueOption(f"clusters={read.clusters!r}: expected the name of one cluster; a queue has the jobs of one")
        servers = read.conf if isinstance(read.conf, str) else None
        return SlurmQueue(
            cast(IQueueReactor, reactor),
            cluster=read.cluster,
            **read.common(),
            conf=read.path(read.conf) if not isinstance(read.conf, str) else None,
            conf_server=servers,
            clusters=read.clusters,
            follow=_logs(read.follow),
            probe=read.probe,
        )

    def detect(self) -> str | None:
        return detect_slurm()


@attrs.frozen
class GridEngineOptions(CommandOptions):
    """The options of ``--queue sge``."""

    cluster: str = _cluster("sge", "beta")
    root: FarPath | None = option(
        PathWhereCommandsRun(), None, "SGE_ROOT", default_text="of the environment", example="/opt/sge"
    )
    cell: str | None = option(Name(), None, "SGE_CELL", default_text="of the environment, or default", example="default")
    qmaster_port: int | None = option(
        WholeNumber(least=1, most=65535),
        None,
        "SGE_QMASTER_PORT",
        default_text="of the environment, or /etc/services",
        example=6444,
    )
    watch: bool = option(
        YesNo(), True, "look as soon as the accounting or reporting file or the qmaster's database is written to"
    )


@implementer(IPlugin, IBatchQueueFactory)
class GridEngineFactory(DeclaredOptions):
    """``--queue sge``."""

    queue_type = "sge"
    queue_help = "Grid Engine: qstat for all jobs, its accounting and reporting files for those that left"
    options_class = GridEngineOptions

    def generate_queue(self, reactor: object, options: Mapping[str, object]) -> IBatchQueueService:
        from jobpush_adapters.sge.queue import GridEngineQueue

        read = read_options(GridEngineOptions, options)
        return GridEngineQueue(
            cast(IQueueReactor, reactor),
            cluster=read.cluster,
            **read.common(),
            root=read.path(read.root),
            cell=read.cell,
            qmaster_port=read.qmaster_port,
            watch=read.watch,
        )

    def detect(self) -> str | None:
        return detect_grid_engine()


@attrs.frozen
class PbsOptions(CommandOptions):
    """The options of ``--queue pbs``."""

    cluster: str = _cluster("pbs", "gamma")
    server: str | None = option(
        Name(), None, "PBS_SERVER", default_text="of the environment, or of pbs.conf", example="pbs1.example.org"
    )
    home: str | None = option(
        Path(), None, "PBS_HOME, where the logs are", default_text="of the environment, or of pbs.conf",
        example="/var/spool/pbs",
    )  # fmt: skip
    follow: str | None = _follow(
        "a log, or a directory of daily ones, whose lines say when to look",
        "/var/spool/pbs/server_logs",
        "server_logs in PBS_HOME",
    )


@implementer(IPlugin, IBatchQueueFactory)
class PbsFactory(DeclaredOptions):
    """``--queue pbs``."""

    queue_type = "pbs"
    queue_help = "OpenPBS, PBS Pro and Torque: qstat for all jobs, the server's history for those that left"
    options_class = PbsOptions

    def generate_queue(self, reactor: object, options: Mapping[str, object]) -> IBatchQueueService:
        from jobpush_adapters.pbs.queue import PbsQueue

        read = read_options(PbsOptions, options)
        return PbsQueue(
            cast(IQueueReactor, reactor),
            cluster=read.cluster,
            **read.common(),
            server=read.server,
            home=read.home,
            follow=_logs(read.follow),
        )

    def detect(self) -> str | None:
        return detect_pbs()


@attrs.frozen
class MockOptions(AdapterOptions):
    """The options of ``--queue mock``."""

    cluster: str = _cluster("mock", "demo")
    file: str | None = option(
        Path(),
        None,
        'read the jobs from this file of JSON lines, such as {"id": "1", "state": "RUNNING"}',
        default_text="invented jobs",
        example="/tmp/jobs.jsonl",
    )
    seed: int = option(WholeNumber(), 1, "the seed of the invented jobs")
    timeout: float = _timeout(5.0)
    grace: float = _grace(5.0)


@implementer(IPlugin, IBatchQueueFactory)
class MockFactory(DeclaredOptions):
    """``--queue mock``."""

    queue_type = "mock"
    queue_help = "no scheduler: a demonstration, or jobs from a file that you edit"
    options_class = MockOptions

    def generate_queue(self, reactor: object, options: Mapping[str, object]) -> IBatchQueueService:
        from jobpush_adapters.mock.queue import DemoQueue, FileQueue

        read = read_options(MockOptions, options)
        common: MockArguments = {
            "cluster": read.cluster,
            "interval": read.interval,
            "timeout": read.timeout,
            "grace": read.grace,
        }
        if read.file is not None:
            return FileQueue(cast(IQueueReactor, reactor), read.file, **common)
        return DemoQueue(cast(IQueueReactor, reactor), read.seed, **common)

    def detect(self) -> str | None:
        return None


def _logs(path: str | None) -> tuple[str, ...]:
    return (path,) if path is not None else ()
