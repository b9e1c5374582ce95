"""
Finds in the source of a module where the reactor's time is taken for a date, which it is not where it is the time since the host
was started; and where a date is taken for the reactor's time.

What ``….seconds()`` and ``….elapsed()`` return is followed through the names of a function and through attributes of ``self``, and
so is what ``….wall()`` and ``time.time()`` return. It is not followed into other functions, but for those that take a date.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

import attrs

#: Methods whose results are times that are no dates, and such that are.
INTERVALS, WALL = {"seconds", "_seconds", "elapsed"}, {"wall", "_wall", "time", "_now"}

#: Attributes and keyword arguments that are dates.
DATES = {
    "submitted_at", "started_at", "ended_at", "observed_at", "began_at", "absent_since", "unsettled_since", "updated_at", "checked_at",
    "good_until", "made_at",
}  # fmt: skip

#: Functions that take a date, or make text of one.
TAKE_A_DATE = {
    "Change", "Demo", "JobDescriptor", "Record", "Snapshot", "concluded", "ctime", "datetimeToLogString", "datetimeToString",
    "deleted_descriptor", "describe", "described", "descriptor", "diff", "find", "fromtimestamp", "gmtime", "line_format", "localtime",
    "outcomes", "parse_job", "quoted_time", "recorded", "sighting", "snapshot", "strftime", "to_time", "told", "unsigned",
}  # fmt: skip

#: What the difference of both clocks is kept in, which a step of one changes.
DIFFERENCE = "difference"


@attrs.frozen(order=True)
class Misuse:
    """A line, and what is wrong with it."""

    line: int
    text: str


def misuses(source: str) -> list[Misuse]:
    """Return where the two kinds of time are mixed up."""
    tree = ast.parse(source)
    found: set[Misuse] = set()
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    in_classes = {function for each in classes for function in each.body if isinstance(function, _FUNCTIONS)}
    functions = [node for node in tree.body if isinstance(node, _FUNCTIONS)]
    for group in [*([function] for function in functions), *([f for f in each.body if f in in_classes] for each in classes)]:
        attributes = _Kinds()
        for function in [*group, *group]:  # what one assigns another uses, wherever it stands
            attributes = attributes.with_those_of(function).of_self()
        for function in group:
            found.update(attributes.with_those_of(function).misuses(function))
    return sorted(found)


def asks_for_seconds(source: str) -> bool:
    """Return whether a module asks a reactor, or what stands for one, for the time."""
    nodes = list(ast.walk(ast.parse(source)))
    called = {node.func for node in nodes if isinstance(node, ast.Call)}
    asked = (node for node in nodes if isinstance(node, ast.Attribute) and node.attr == "seconds")
    return any(node in called or ast.unparse(node.value).endswith("reactor") for node in asked)


def names_host_clock(source: str) -> bool:
    """Return whether a module names a clock of the host, which it should be given."""
    clocks = {"time", "monotonic", "clock_gettime", "perf_counter"}
    return any(
        isinstance(node, ast.Attribute) and node.attr in clocks and isinstance(node.value, ast.Name) and node.value.id == "time"
        for node in ast.walk(ast.parse(source))
    )


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@attrs.define
class _Kinds:
    """Which names, and attributes of ``self`` (with ``self.`` before them), stand for which kind of time."""

    intervals: set[str] = attrs.field(factory=set)
    dates: set[str] = attrs.field(factory=set)

    def with_those_of(self, function: ast.AST) -> _Kinds:
        """Return these, and what is assigned in a function."""
        found = _Kinds(self.intervals.copy(), self.dates.copy())
        for target, value in [*_assignments(function)] * 2:
            name = _name(target)
            if name is not None and DIFFERENCE not in name:
                if found.is_interval(value):
                    found.intervals.add(name)
                if found.is_date(value):
                    found.dates.add(name)
        return found

    def of_self(self) -> _Kinds:
        """Return those of attributes alone."""
        return _Kinds(*({name for name in kind if name.startswith("self.")} for kind in (self.intervals, self.dates)))

    def is_interval(self, node: ast.AST) -> bool:
        """Return whether an expression is a time that is no date."""
        return self._is(node, INTERVALS, self.intervals)

    def is_date(self, node: ast.AST) -> bool:
        """Return whether an expression is a date."""
        return self._is(node, WALL, self.dates) or (isinstance(node, ast.Attribute) and node.attr in DATES)

    def _is(self, node: ast.AST, methods: set[str], names: set[str]) -> bool:
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            if called in methods:
                return True
            of = node.func.id if isinstance(node.func, ast.Name) else None
            return of in ("max", "min", "round", "int") and any(self._is(each, methods, names) for each in node.args)
        if isinstance(node, ast.BinOp):
            left, right = self._is(node.left, methods, names), self._is(node.right, methods, names)
            return left != right  # the difference of two times is none
        if isinstance(node, ast.IfExp):
            return self._is(node.body, methods, names) or self._is(node.orelse, methods, names)
        return _name(node) in names

    def misuses(self, function: ast.AST) -> Iterator[Misuse]:
        """Yield what is wrong in a function."""
        for name in sorted(self.intervals & self.dates):
            yield Misuse(getattr(function, "lineno", 0), f"{name} is a date and is none")
        excused = {part for node in _with_the_difference(function) for part in ast.walk(node)}
        for node in ast.walk(function):
            line = getattr(node, "lineno", 0)
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in TAKE_A_DATE and any(map(self.is_interval, node.args)):
                    yield Misuse(line, f"{called}() takes a date")
                for keyword in node.keywords:
                    if keyword.arg in DATES and self.is_interval(keyword.value):
                        yield Misuse(line, f"{keyword.arg}= is a date")
                if called in ("callLater", "reset", "delay") and node.args and self.is_date(node.args[0]):
                    yield Misuse(line, f"{called}() takes no date")
            elif node in excused:
                continue
            elif isinstance(node, ast.Compare):
                if self._mixed([node.left, *node.comparators]):
                    yield Misuse(line, "a date is compared with what is none")
            elif isinstance(node, ast.BinOp) and self._mixed([node.left, node.right]):
                yield Misuse(line, "a date is subtracted from what is none, or that from a date")
        for target, value in _assignments(function):
            if isinstance(target, ast.Attribute) and target.attr in DATES and self.is_interval(value):
                yield Misuse(target.lineno, f"{target.attr} is a date")

    def _mixed(self, nodes: Iterable[ast.AST]) -> bool:
        those = list(nodes)
        return any(map(self.is_interval, those)) and any(map(self.is_date, those))


def _assignments(function: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield what is assigned to what, in tuples one by one."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    yield from zip(target.elts, node.value.elts, strict=False)
                else:
                    yield target, node.value
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)) and node.value is not None:
            yield node.target, node.value


def _with_the_difference(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the expressions that make or use the difference of both clocks."""
    for target, value in _assignments(function):
        if DIFFERENCE in (_name(target) or ""):
            yield value
    for node in ast.walk(function):
        if isinstance(node, ast.BinOp) and any(DIFFERENCE in (_name(each) or "") for each in (node.left, node.right)):
            yield node


def _name(node: ast.AST) -> str | None:
    """Return the name of a variable, or of an attribute of ``self``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return f"self.{node.attr}"
    return None
