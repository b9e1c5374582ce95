"""The faults of ``make mutants``, and which tests are run for one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.mutants import MOST_S, Baseline, mirror
from tests.mutations import mutations

SOURCE = '''"""A module."""
import os

LIMIT = 10


def f(rows: list[int], most: int = 5, *, strict: bool = True) -> object:
    """A function."""
    found = [row for row in rows if row > 1]
    if not found and strict:
        raise ValueError(f"nothing in {rows}")
    log.info("{n}", n=len(found))
    for row in found:
        if row % 64 == 0:
            yield
        most += row
    return evolve(found, état="RUNNING", n=min(most, LIMIT))
'''


class MutationTests(SynchronousTestCase):
    """`tests.mutations`."""

    def test_what_is_changed(self) -> None:
        """Operators, bounds, conditions, statements, arguments, words; each on its line."""
        self.assertCountEqual(
            [(m.line, m.change) for m in mutations(SOURCE.encode())],
            [
                (4, "10  ->  11"),
                (7, "5  ->  6"),
                (7, "True  ->  False"),
                (9, "if row > 1  ->  left out from the comprehension"),
                (9, "row > 1  ->  row >= 1"),
                (9, "1  ->  2"),
                (10, "not found and strict  ->  not (not found and strict)"),
                (10, "not found  ->  left out from the and"),
                (10, "strict  ->  left out from the and"),
                (10, "not found and strict  ->  not found or strict"),
                (10, "not found  ->  found"),
                (11, "raise ValueError(f'nothing in {rows}')  ->  pass"),
                (16, "most += row  ->  most -= row"),
                (16, "most += row  ->  pass"),
                (17, "return evolve(found, état='RUNNING', n=min(most, LIMIT))  ->  return None"),
                (17, "état='RUNNING'  ->  left out of evolve(...)"),
                (17, "n=min(most, LIMIT)  ->  left out of evolve(...)"),
                (17, "'RUNNING'  ->  'RUNNING_x'"),
                (17, "min(most, LIMIT)  ->  max(most, LIMIT)"),
            ],
        )

    def test_each_is_another_text(self) -> None:
        """Every fault changes the text, no two in the same way, and what comes after it stays, whatever letters stand before."""
        texts = [mutation.apply(SOURCE.encode()) for mutation in mutations(SOURCE.encode())]
        self.assertEqual(len({SOURCE.encode(), *texts}), len(texts) + 1)
        for text in texts:
            self.assertTrue(text.startswith(b'"""A module."""\nimport os\n'), text)
            self.assertIn(text.splitlines()[-1][:11], (b"    return ", b"    return None"))

    def test_of_what_it_asks_nothing(self) -> None:
        """Interfaces, annotations, docstrings, log lines, error texts, pauses, assertions, names of no behaviour."""
        for text in (
            "class I(Interface):\n    x = Attribute('x', default=3)\n",
            "def f(x: Literal['a'] = y) -> Literal['b']:\n    'text'\n    assert x == 1\n",
            "def f():\n    yield\n    if n % 5 == 0:\n        yield\n",
            "def f(self):\n    self.log.warn('x', n=1 + 2)\n",
            "class C:\n    __slots__ = ('a', 'b')\n    log = Logger(namespace='x')\n",
        ):
            self.assertEqual(mutations(text.encode()), [], text)


class SelectionTests(SynchronousTestCase):
    """Which tests are run."""

    def test_mirror(self) -> None:
        """A module's test file is found by its name."""
        for path, test in {
            "jobpush/core/diff.py": "tests/core/test_diff.py", "jobpush/tap.py": "tests/test_tap.py",
            "adapters/jobpush_adapters/slurm/queue.py": "tests/adapters/slurm/test_queue.py",
            "client/jobpush_client/cli/codes.py": "tests/client/cli/test_codes.py",
        }.items():  # fmt: skip
            self.assertEqual(mirror(path), test)

    def test_order(self) -> None:
        """Those that run the statement: of the module's own file first, then the quick ones, as long as there is time."""
        path = "jobpush/core/a.py"
        (fault,) = mutations(b"x = f(\n    a,\n    b == 3 if c else d,\n)\n")[:1]
        self.assertEqual((fault.first, fault.last), (1, 4))
        seconds = {"tests/core/test_a.py::slow": 9.0, "tests/x.py::quick": 0.1, "tests/x.py::slow": MOST_S, "tests/x.py::other": 0.2}
        lines = {path: {3: ["tests/x.py::slow", "tests/x.py::quick", "tests/core/test_a.py::slow"], 9: ["tests/x.py::other"]}}
        known = Baseline(seconds, lines, [])
        self.assertEqual(known.of_mutation(path, fault), ["tests/core/test_a.py::slow", "tests/x.py::quick"])
        self.assertEqual(known.of_mutation("jobpush/core/b.py", fault), [])

    def test_what_an_import_runs(self) -> None:
        """A constant of a module: all tests that run anything of it."""
        (fault,) = mutations(b"LIMIT = 10\n")
        known = Baseline({}, {"m.py": {1: [], 5: ["tests/x.py::b"], 7: ["tests/x.py::a"]}}, [])
        self.assertEqual(known.of_mutation("m.py", fault), ["tests/x.py::a", "tests/x.py::b"])
