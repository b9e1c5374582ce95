"""What a Grid Engine lets jobpush see."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import QueueFacts
from jobpush_adapters.sge import facts
from tests.adapters.sge.captures import CAPTURES


class FactTests(SynchronousTestCase):
    """``qconf -sconf`` and the files."""

    def test_settings(self) -> None:
        """What a real configuration says, over continued lines."""
        settings = facts.ReportingParams.parse((CAPTURES / "72-qconf-sconf.txt").read_bytes())
        self.assertEqual((settings.accounting, settings.joblog), (True, True))
        off = facts.ReportingParams.parse(b"reporting_params  accounting=false reporting=false flush_time=00:00:15 joblog=false\n")
        self.assertEqual((off.accounting, off.joblog, off.flush_s), (False, False, 15))

    def test_when_records_are_written(self) -> None:
        """The one setting or the other, and Grid Engine's default of 15 s; what is on, however it is written."""
        for text, expected in [
            ("accounting=true accounting_flush_time=00:00:05 flush_time=00:00:07", (True, False, 5)), ("accounting=1 flush_time=00:01:07", (True, False, 67)),
            ("accounting=TRUE accounting_flush_time=00:00:00 flush_time=00:00:07", (True, False, 0)), ("flush_time=NONE", (False, False, 15)),
            ("accounting=true,reporting=true,joblog=true", (True, True, 15)), ("reporting=true joblog=true", (False, True, 15)), ("reporting=true joblog=false", (False, False, 15)),
            ("reporting=false joblog=1", (False, False, 15)), ("accounting=yes reporting=on joblog=on", (False, False, 15)),
        ]:  # fmt: skip
            self.assertEqual(facts.ReportingParams.parse(f"x y\nreporting_params   {text}\nz 1".encode()), facts.ReportingParams(*expected), text)
        self.assertEqual(facts.ReportingParams.parse(b"nothing\xff else\n"), facts.ReportingParams(False, False, 15))

    def test_configuration(self) -> None:
        """Comments are none of it, long values go on after a backslash, names without a value have none."""
        text = b"# reporting_params x\na   b c \nlong one, \\\n      two, \\\n   three\nalone\nodd \xff\n"
        self.assertEqual(facts.parse_config(text), {"a": "b c", "long": "one,  two,  three", "odd": "\ufffd"})

    def test_everything_that_follows(self) -> None:
        """The facts as a whole."""
        settings, files = facts.ReportingParams(True, True, 31), facts.Files("/a", "/r", ("a problem",))
        evidence = "qconf answers, so this is a submit or admin host of cell c, and Grid Engine hides no jobs"
        late = "accounting records are written every 31 s only (reporting_params accounting_flush_time), and after grace=60.5 s a job is told as LOST: make one shorter or the other longer"
        expected = QueueFacts(sees_all=True, accounting=True, remembers_s=None, remembers_by="reporting_params accounting", evidence=evidence,
                              problems=("a problem", late), lists_ended=False, records_waiting=True)  # fmt: skip
        self.assertEqual(facts.facts(settings, files, "c", 60.5), expected)
        self.assertEqual(facts.facts(settings, files, "c", 62.0).problems, ("a problem",))
        none = facts.facts(facts.ReportingParams(False, True, 31), attrs.evolve(files, hides="-q hides"), "c", 60.0)
        lost = "there is no accounting (reporting_params accounting=false): how a job ended cannot be known, it is told as LOST"
        problems = ("a problem", lost, "-q hides")
        changed = attrs.evolve(expected, sees_all=False, accounting=False, remembers_s=0.0, evidence="-q hides", records_waiting=False)
        self.assertEqual(none, attrs.evolve(changed, problems=problems))

    def test_files(self) -> None:
        """Which of them are followed, and what is said where one is not."""
        root = Path(self.mktemp()).resolve()
        common = root / "cell" / "common"
        common.mkdir(parents=True)
        good = facts.ReportingParams(True, True, 1)
        accounting, reporting = str(common / "accounting"), str(common / "reporting")
        told = "deletions cannot be proved, and a job that was deleted is told as one that was killed"
        asked = f"qacct is asked instead, and a job that comes and goes between two queries is not seen; {told}"
        gone = f"{accounting} is not there"
        home = root / "home"
        home.mkdir()
        self.patch(facts.pwd, "getpwuid", lambda uid: SimpleNamespace(pw_dir=str(home)))

        def found(settings: facts.ReportingParams = good, root: str | None = str(root), remote: bool = False) -> facts.Files:
            return facts.Files.find(root, "cell", settings, remote)

        self.assertEqual(found(), facts.Files(accounting, reporting, missing=gone), "files that will come")
        (common / "accounting-20261126").touch()
        self.assertEqual(found(), facts.Files(accounting, reporting), "moved away a moment ago")
        (common / "accounting-20261126").unlink()
        (common / "accounting.jsonl").touch()
        self.assertEqual(found(), facts.Files(f"{accounting}.jsonl", reporting), "of Open Cluster Scheduler")
        (common / "accounting.jsonl").unlink()
        (common / "accounting").touch()
        self.assertEqual(found(facts.ReportingParams(False, True, 1)), facts.Files())
        self.assertEqual(found(remote=True), facts.Files(problems=(f"the accounting file is on another host and cannot be followed: {asked}",), asks_qacct=True))
        self.assertEqual(found(root=None), facts.Files(problems=(f"the accounting file cannot be found (no SGE_ROOT; say root=): {asked}",), asks_qacct=True))
        self.assertEqual(found(root="/none"), facts.Files(problems=(f"the accounting file cannot be found (/none/cell/common; say root=): {asked}",), asks_qacct=True))
        self.assertEqual(found(facts.ReportingParams(True, False, 1)),
                         facts.Files(accounting, None, (f"deletions are not logged (reporting_params reporting=true joblog=true): {told}",)))  # fmt: skip
        (common / "sge_qstat").write_bytes(b"# -pe x\n -s prs -qs x\n-q fast.q -U\n\xe9")
        hides = f"{common}/sge_qstat narrows every qstat (-U -q -qs): jobs are hidden"
        self.assertEqual(found(), facts.Files(accounting, reporting, hides=hides))
        self.assertEqual(found(facts.ReportingParams(True, False, 1)).hides, hides)
        (home / ".sge_qstat").write_text("-l arch=x\n")
        mine = f"{home}/.sge_qstat narrows every qstat (-l): jobs are hidden"
        self.assertEqual(found().hides, f"{hides} and {mine}")
        (common / "sge_qstat").rename(common / "elsewhere")
        self.assertEqual(found().hides, mine)
        (home / ".sge_qstat").unlink()
        (common / "elsewhere").rename(common / "sge_qstat")
        unreadable = {reporting}
        self.patch(facts.os, "access", lambda path, mode: str(path) not in unreadable and mode in (os.R_OK, os.R_OK | os.X_OK))
        (common / "reporting").touch()
        self.assertEqual(found(), facts.Files(accounting, None, (f"{reporting} cannot be read: {told}",), hides))
        unreadable.add(accounting)
        self.assertEqual(found(), facts.Files(missing=f"{accounting} cannot be read", hides=hides))
        (common / "sge_qstat").write_text("-s prs\n")
        self.assertIsNone(found().hides)
        unreadable.clear()
        self.assertEqual(found(), facts.Files(accounting, reporting))
        (common / "bootstrap").write_bytes(f"spooling_method berkeleydb\nspooling_params {common}\nadmin ".encode() + b"\xe9 \xe9\n")
        self.assertEqual(found().spool, str(common))
        unreadable.add(str(common))
        self.assertIsNone(found().spool)
        unreadable.clear()
        for text in (f"spooling_method classic\nspooling_params {common}\n", "spooling_method berkeleydb\nspooling_params .\n",
                     f"spooling_params {common}\n", "spooling_method berkeleydb\n", f"spooling_method berkeleydb\nspooling_params {common}/none\n"):  # fmt: skip
            (common / "bootstrap").write_text(text)
            self.assertIsNone(found().spool, text)

    def test_problems(self) -> None:
        """Each setting that takes something away is named."""
        root = Path(self.mktemp()).resolve()
        common = root / "default" / "common"
        common.mkdir(parents=True)
        good = facts.ReportingParams(True, True, 1)
        missing = facts.facts(good, facts.Files.find(str(root), "default", good, False), "default", 60.0)
        self.assertFalse(missing.accounting)
        self.assertEqual(missing.problems, (f"there is no accounting: {common}/accounting is not there: how a job ended cannot be known, it is told as LOST",))
        (common / "accounting").touch()
        for settings, remote, expected in [
            (good, False, ""), (facts.ReportingParams(False, True, 1), False, "accounting=false"), (facts.ReportingParams(True, False, 1), False, "joblog=true"),
            (facts.ReportingParams(True, True, 300), False, "accounting_flush_time"), (good, True, "another host"),
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
