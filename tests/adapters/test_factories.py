"""The factories of the adapters that come with jobpush."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.options import OptionValues, read_options
from jobpush_adapters.factories import GridEngineOptions, PbsOptions, SlurmOptions


class PathTests(SynchronousTestCase):
    """Paths among the options of a queue."""

    def test_here(self) -> None:
        """On this host they are absolute: from the working directory, or from that of the configuration file."""
        options = read_options(SlurmOptions, {"conf": "slurm.conf"})
        self.assertEqual(options.path(options.conf), os.path.abspath("slurm.conf"))
        options = read_options(SlurmOptions, OptionValues({"conf": "slurm.conf"}, "/etc/jobpush"))
        self.assertEqual(options.path(options.conf), "/etc/jobpush/slurm.conf")

    def test_where_commands_run(self) -> None:
        """Behind a prefix they are paths of the other host, and stay as they were given."""
        options = read_options(GridEngineOptions, OptionValues({"root": "ge", "bin": "~/bin", "prefix": "ssh login1"}, "/etc/jobpush"))
        self.assertEqual((options.path(options.root), options.common("x")["directory"]), ("ge", "~/bin"))
        self.assertIsNone(read_options(SlurmOptions, {}).path(None))

    def test_always_here(self) -> None:
        """What jobpush itself reads is of this host in any case."""
        options = read_options(PbsOptions, OptionValues({"home": "pbs", "follow": "log", "prefix": "ssh login1"}, "/etc/jobpush"))
        self.assertEqual((options.home, options.follow), ("/etc/jobpush/pbs", "/etc/jobpush/log"))
