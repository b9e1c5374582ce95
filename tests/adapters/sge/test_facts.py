"""What a Grid Engine lets jobpush see."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from jobpush_adapters.sge import facts
from tests.adapters.sge.captures import CAPTURES


class FactTests(SynchronousTestCase):
    """``qconf -sconf`` and the files."""

    def test_settings(self) -> None:
        """What a real configuration says, over continued lines."""
        settings = facts.Settings.parse((CAPTURES / "72-qconf-sconf.txt").read_bytes())
        self.assertEqual((settings.accounting, settings.joblog), (True, True))
        off = facts.Settings.parse(b"reporting_params  accounting=false reporting=false flush_time=00:00:15 joblog=false\n")
        self.assertEqual((off.accounting, off.joblog, off.flush_s), (False, False, 15))

    def test_problems(self) -> None:
        """Each setting that takes something away is named."""
        root = Path(self.mktemp()).resolve()
        common = root / "default" / "common"
        common.mkdir(parents=True)
        good = facts.Settings(True, True, 1)
        for settings, remote, expected in [
            (good, False, ""), (facts.Settings(False, True, 1), False, "accounting=false"), (facts.Settings(True, False, 1), False, "joblog=true"),
            (facts.Settings(True, True, 300), False, "accounting_flush_time"), (good, True, "another host"),
        ]:  # fmt: skip
            files = facts.Files.find(str(root), "default", settings, remote)
            told = facts.facts(settings, files, "default", 60.0)
            self.assertIn(expected, " ".join(told.problems))
            self.assertEqual(bool(told.problems), bool(expected))
            self.assertEqual(told.remembers_s, None if settings.accounting else 0.0)
        self.assertIn("root=", " ".join(facts.Files.find("/nonexistent", "default", good, False).problems))
        (common / "sge_qstat").write_text("# site\n-q fast.q\n")
        self.assertIsNone(facts.Files.find(str(root), "default", good, False).spool)
        spool = root / "db"
        spool.mkdir()
        for method, directory, remote, expected in (
            ("berkeleydb", spool, False, str(spool)),
            ("berkeleydb", spool, True, None),
            ("classic", spool, False, None),
            ("berkeleydb", root / "elsewhere", False, None),
        ):
            (root / "default" / "common" / "bootstrap").write_text(
                f"# Version: 8.1.9\n#\nadmin_user none\nspooling_method         {method}\nspooling_params   {directory}\nbroken\n"
            )
            self.assertEqual(facts.Files.find(str(root), "default", good, remote).spool, expected)
        told = facts.facts(good, facts.Files.find(str(root), "default", good, False), "default", 60.0)
        self.assertFalse(told.sees_all)
        self.assertIn("sge_qstat", told.evidence)
