"""What each type of queue takes."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.registry import make_queue_from_table


class OptionTests(SynchronousTestCase):
    """What each type takes."""

    def test_what_names_an_instance(self) -> None:
        """Each adapter takes what names its instance, from text and from a table."""
        for kind, options in [
            ("slurm", {"cluster": "alpha", "conf": "/etc/slurm/a.conf", "clusters": "a", "bin": "/opt/slurm/bin"}),
            ("pbs", {"cluster": "gamma", "server": "pbs1.example.org", "home": "/var/spool/pbs", "bin": "/opt/pbs/bin"}),
            ("sge", {"cluster": "beta", "root": "/opt/sge", "cell": "default", "qmaster_port": "6444", "bin": "/opt/sge/bin"}),
            ("sge", {"qmaster_port": 6444, "prefix": ["ssh", "-o", "BatchMode=yes", "login1"]}),
            ("pbs", {"prefix": "ssh -o BatchMode=yes login1"}),
        ]:  # fmt: skip
            queue = make_queue_from_table(reactor, kind, options)
            self.assertEqual((queue.queue_type, queue.cluster), (kind, options.get("cluster", kind)))

    def test_bad_values(self) -> None:
        """Named, with what was expected."""
        for kind, options, told in [
            ("pbs", {"server": "-x"}, "server"), ("pbs", {"server": "a b"}, "server"), ("slurm", {"clusters": "a,b"}, "clusters"),
            ("sge", {"qmaster_port": "70000"}, "qmaster_port"), ("sge", {"cell": "../x"}, "cell"), ("sge", {"prefix": "ssh 'x"}, "prefix"),
            ("sge", {"prefix": []}, "prefix"), ("sge", {"prefix": ["ssh", 3]}, "prefix"), ("mock", {"prefix": "ssh x"}, "unknown option 'prefix'"),
        ]:  # fmt: skip
            with self.assertRaises(BadQueueOption) as caught:
                make_queue_from_table(reactor, kind, options)  # type: ignore[arg-type]
            self.assertIn(told, str(caught.exception))
