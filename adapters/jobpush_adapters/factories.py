"""
What jobpush's plugins are made of: light objects that load an adapter when they are asked to make a queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from jobpush.adapter.interfaces import BadQueueOption, IBatchQueueFactory, IBatchQueueService
from jobpush.adapter.options import OptionReader
from jobpush_adapters.common.detect import detect_grid_engine, detect_pbs, detect_slurm

_OPTIONS = """\
cluster=NAME: the name under which its jobs are served (default: {kind})
interval=SECONDS: the time between two queries (default: 2, and longer while nobody waits)
timeout=SECONDS: after which a query has failed (default: {timeout})
grace=SECONDS: for which a job that left the queue may lack a record of its end (default: {grace})"""

_COMMANDS = """
bin=DIRECTORY: where its commands are (default: along PATH)
prefix=COMMAND: how to reach its commands on another host: prefix=ssh -o BatchMode=yes login1"""


def _common(reader: OptionReader, kind: str, timeout: float, grace: float) -> dict[str, Any]:
    """The options that every queue takes."""
    return {
        "cluster": reader.cluster(kind),
        "interval": reader.seconds("interval", None),
        "timeout": reader.seconds("timeout", timeout),
        "grace": reader.seconds("grace", grace),
    }


def _commands(reader: OptionReader, kind: str) -> dict[str, Any]:
    """The options of a queue that runs commands."""
    prefix = reader.words("prefix")
    return {**_common(reader, kind, 20.0, 60.0), "prefix": prefix, "directory": _path(reader, "bin", prefix)}


def _path(reader: OptionReader, key: str, prefix: tuple[str, ...]) -> str | None:
    """A path: of this host, or as it stands where the commands run on another."""
    return reader.text(key) if prefix else reader.path(key)


def _follow(reader: OptionReader) -> tuple[str, ...]:
    """A log of this host."""
    path = reader.path("follow")
    return (path,) if path is not None else ()


@implementer(IPlugin, IBatchQueueFactory)
class SlurmFactory:
    """``--queue slurm``."""

    queue_type = "slurm"
    queue_help = "Slurm: squeue for all jobs, sacct for those that left"
    arg_string_format = (
        _OPTIONS.format(kind="slurm", timeout=20, grace=60)
        + """
conf=PATH: slurm.conf (default: SLURM_CONF of the environment, or Slurm's own)
clusters=NAME: another cluster of the same accounting database, as in squeue --clusters
follow=PATH: a log whose lines say when to look: slurmctld's, or what JobCompType=jobcomp/filetxt writes
probe=auto|yes|no: ask slurmctld every 0.15 s, by libslurm, whether anything has changed (default: auto, which is yes on
  the cluster's own hosts with a tested version of libslurm, where no log is followed)"""
        + _COMMANDS
    )

    def generate_queue(self, reactor: Any, options: Mapping[str, object]) -> IBatchQueueService:
        from jobpush_adapters.slurm.queue import SlurmQueue

        reader = OptionReader(options)
        common = _commands(reader, "slurm")
        conf = _path(reader, "conf", common["prefix"])
        clusters, follow = reader.cluster_name("clusters"), _follow(reader)
        probe = reader.flag("probe", None)
        reader.finish()
        if probe and (clusters or common["prefix"]):
            raise BadQueueOption("probe=yes: expected neither clusters= nor prefix=, which are of other hosts")
        return SlurmQueue(reactor, **common, conf=conf, clusters=clusters, follow=follow, probe=probe)

    def detect(self) -> str | None:
        return detect_slurm()


@implementer(IPlugin, IBatchQueueFactory)
class GridEngineFactory:
    """``--queue sge``."""

    queue_type = "sge"
    queue_help = "Grid Engine: qstat for all jobs, its accounting and reporting files for those that left"
    arg_string_format = (
        _OPTIONS.format(kind="sge", timeout=20, grace=60)
        + """
root=PATH: SGE_ROOT (default: of the environment)
cell=NAME: SGE_CELL (default: of the environment, or default)
qmaster_port=NUMBER: SGE_QMASTER_PORT (default: of the environment, or /etc/services)
watch=yes|no: look as soon as the accounting or reporting file or the qmaster's database is written to (default: yes)"""
        + _COMMANDS
    )

    def generate_queue(self, reactor: Any, options: Mapping[str, object]) -> IBatchQueueService:
        from jobpush_adapters.sge.queue import GridEngineQueue

        reader = OptionReader(options)
        common = _commands(reader, "sge")
        root = _path(reader, "root", common["prefix"])
        cell, port = reader.cluster_name("cell"), reader.integer("qmaster_port", 0, most=65535) or None
        watch = reader.flag("watch", True)
        reader.finish()
        return GridEngineQueue(reactor, **common, root=root, cell=cell, qmaster_port=port, watch=watch)

    def detect(self) -> str | None:
        return detect_grid_engine()


@implementer(IPlugin, IBatchQueueFactory)
class PbsFactory:
    """``--queue pbs``."""

    queue_type = "pbs"
    queue_help = "OpenPBS, PBS Pro and Torque: qstat for all jobs, the server's history for those that left"
    arg_string_format = (
        _OPTIONS.format(kind="pbs", timeout=20, grace=60)
        + """
server=NAME: PBS_SERVER (default: of the environment, or of pbs.conf)
home=PATH: PBS_HOME, where the logs are (default: /var/spool/pbs)
follow=PATH: a log, or a directory of daily ones, whose lines say when to look (default: server_logs in PBS_HOME)"""
        + _COMMANDS
    )

    def generate_queue(self, reactor: Any, options: Mapping[str, object]) -> IBatchQueueService:
        from jobpush_adapters.pbs.queue import PbsQueue

        reader = OptionReader(options)
        common = _commands(reader, "pbs")
        server, home, follow = reader.cluster_name("server"), reader.path("home"), _follow(reader)
        reader.finish()
        return PbsQueue(reactor, **common, server=server, home=home, follow=follow)

    def detect(self) -> str | None:
        return detect_pbs()


@implementer(IPlugin, IBatchQueueFactory)
class MockFactory:
    """``--queue mock``."""

    queue_type = "mock"
    queue_help = "no scheduler: a demonstration, or jobs from a file that you edit"
    arg_string_format = (
        _OPTIONS.format(kind="mock", timeout=5, grace=5)
        + """
file=PATH: read the jobs from this file of JSON lines, such as {"id": "1", "state": "RUNNING"}
seed=NUMBER: of the demonstration (default: 1)"""
    )

    def generate_queue(self, reactor: Any, options: Mapping[str, object]) -> IBatchQueueService:
        from jobpush_adapters.mock.queue import DemoQueue, FileQueue

        reader = OptionReader(options)
        common = _common(reader, "mock", 5.0, 5.0)
        path, seed = reader.path("file"), reader.integer("seed", 1)
        reader.finish()
        if path is not None:
            return FileQueue(reactor, path, **common)
        return DemoQueue(reactor, seed, **common)

    def detect(self) -> str | None:
        return None
