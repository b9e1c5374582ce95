"""
What jobpush's plugins are made of: light objects that load an adapter when they are asked to make a queue.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from jobpush.interfaces import IBatchQueueFactory, IBatchQueueService

_COMMON = """\
cluster=NAME: the name under which its jobs are served (default: {kind})
interval=SECONDS: the time between two queries (default: 2, and longer while nobody waits)
timeout=SECONDS: after which a query has failed (default: {timeout})
grace=SECONDS: for which a job that left the queue may lack a record of its end (default: {grace})"""


@implementer(IPlugin, IBatchQueueFactory)
class SlurmFactory:
    """``--queue slurm``."""

    queue_type = "slurm"
    queue_help = "Slurm: squeue for all jobs, sacct for those that left"
    arg_string_format = (
        _COMMON.format(kind="slurm", timeout=20, grace=60)
        + """
conf=PATH: slurm.conf (default: SLURM_CONF of the environment, or Slurm's own)
bin=DIRECTORY: where squeue, scontrol and sacct are (default: along PATH)"""
    )

    def generate_queue(self, reactor: Any, options: Mapping[str, object]) -> IBatchQueueService:
        from jobpush.options import OptionReader
        from jobpush_adapters.slurm import SlurmQueue

        reader = OptionReader(options)
        queue = SlurmQueue(
            reactor,
            cluster=reader.cluster("slurm"),
            interval=reader.seconds("interval", None),
            timeout=reader.seconds("timeout", 20.0) or 20.0,
            grace=reader.seconds("grace", 60.0) or 60.0,
            conf=reader.path("conf"),
            directory=reader.path("bin"),
        )
        reader.finish()
        return queue

    def detect(self) -> str | None:
        return shutil.which("squeue")


@implementer(IPlugin, IBatchQueueFactory)
class MockFactory:
    """``--queue mock``."""

    queue_type = "mock"
    queue_help = "no scheduler: a demonstration, or jobs from a file that you edit"
    arg_string_format = (
        _COMMON.format(kind="mock", timeout=5, grace=5)
        + """
file=PATH: read the jobs from this file of JSON lines, such as {"id": "1", "state": "RUNNING"}
seed=NUMBER: of the demonstration (default: 1)"""
    )

    def generate_queue(self, reactor: Any, options: Mapping[str, object]) -> IBatchQueueService:
        from jobpush.options import OptionReader
        from jobpush_adapters.mock import DemoQueue, FileQueue

        reader = OptionReader(options)
        common: dict[str, Any] = {
            "cluster": reader.cluster("mock"),
            "interval": reader.seconds("interval", None),
            "timeout": reader.seconds("timeout", 5.0),
            "grace": reader.seconds("grace", 5.0),
        }
        path, seed = reader.path("file"), reader.integer("seed", 1)
        reader.finish()
        if path is not None:
            return FileQueue(reactor, path, **common)
        return DemoQueue(reactor, seed, **common)

    def detect(self) -> str | None:
        return None
