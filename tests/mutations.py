"""
Small faults in a Python source text: an operator turned, a bound moved, a condition negated, a statement or an argument dropped.

Pure. What a mutation does not touch: annotations, docstrings, log calls, the text of errors, interfaces, and the pauses of
generators, which change nothing but how long other work waits.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterable, Iterator

import attrs

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip

_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}  # fmt: skip

_FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}

#: Texts that are words of a protocol, a file or a scheduler; others are prose or patterns.
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")

#: Names that are assigned what is no behaviour.
_NO_BEHAVIOUR = re.compile(r"__\w+__|log|LOG|[A-Z]|_?T|.*_help|arg_string_format")


@attrs.frozen(order=True)
class Mutation:
    """
    One fault.

    :ivar line: where the changed code begins.
    :ivar first: the first line of the statement that it is in.
    :ivar last: the last line of that statement, or of its head if it has a body.
    :ivar start: the place in the text (bytes) at which it begins.
    :ivar end: the place at which it ends.
    :ivar code: what stands there instead.
    :ivar change: what the fault is, for people.
    """

    line: int
    first: int
    last: int
    start: int
    end: int
    code: str
    change: str

    def apply(self, source: bytes) -> bytes:
        """Return the text with this fault."""
        return source[: self.start] + self.code.encode() + source[self.end :]


def mutations(source: bytes) -> list[Mutation]:
    """Return all faults that can be put into this text, in the order of their places. Each of them compiles."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = {}
    for statement, node, new, change in _Finder().of_body(ast.parse(source).body, None):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        code = new if isinstance(new, str) else f"({ast.unparse(new)})"
        shown = change or f"{_short(ast.unparse(node))}  ->  {_short(new if isinstance(new, str) else ast.unparse(new))}"
        mutation = Mutation(node.lineno, statement.lineno, _head(statement), start, end, code, shown)
        if _compiles(mutation.apply(source)):
            found.setdefault((start, end, code), mutation)
    return sorted(found.values())


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _head(statement: ast.stmt) -> int:
    """The last line of a statement without its body."""
    body = getattr(statement, "body", None)
    if isinstance(body, list) and body:
        return max(statement.lineno, body[0].lineno - 1)
    assert statement.end_lineno is not None
    return statement.end_lineno


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 90 else text[:60] + " ... " + text[-25:]


#: The statement that is changed, the node in it, what takes the node's place, and what to say of it if not these.
_Found = tuple[ast.stmt, ast.expr | ast.stmt, "ast.expr | str", "str | None"]


class _Finder:
    """Walks over the statements of a module."""

    def of_body(self, body: list[ast.stmt], function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> Iterator[_Found]:
        for place, statement in enumerate(body):
            if place == 0 and _is_text(statement):
                continue
            yield from self.of_statement(statement, function)

    def of_statement(self, statement: ast.stmt, function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> Iterator[_Found]:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            defaults = [*statement.args.defaults, *(default for default in statement.args.kw_defaults if default is not None)]
            yield from self._all_of(statement, defaults)
            yield from self.of_body(statement.body, statement)
        elif isinstance(statement, ast.ClassDef):
            if not {"Interface", "Protocol", "Enum"} & {name for base in statement.bases for name in _names(base)}:
                yield from self.of_body(statement.body, None)
        elif _is_pause(statement) or _is_log(statement) or isinstance(statement, ast.Assert | ast.Import | ast.ImportFrom):
            return
        else:
            yield from self._dropped(statement, function)
            yield from self._inside(statement, function)

    def _dropped(self, statement: ast.stmt, function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> Iterator[_Found]:
        """The statement itself, left out."""
        if isinstance(statement, ast.Expr | ast.AugAssign | ast.Delete | ast.Continue | ast.Break | ast.Raise):
            if not _is_text(statement):
                yield statement, statement, "pass", None
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None and function is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if all(_is_set_before(target, statement, function) for target in targets):
                yield statement, statement, "pass", None
        elif isinstance(statement, ast.Return) and not _is_none(statement.value):
            assert statement.value is not None
            yield statement, statement.value, "None", f"return {_short(ast.unparse(statement.value))}  ->  return None"

    def _inside(self, statement: ast.stmt, function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> Iterator[_Found]:
        """The expressions of a statement, and the statements in it."""
        if isinstance(statement, ast.Raise) or _is_no_behaviour(statement):
            return
        if isinstance(statement, ast.If) and not _has_complement(statement.test):
            yield statement, statement.test, ast.UnaryOp(ast.Not(), statement.test), None
        if isinstance(statement, ast.AugAssign) and type(statement.op) in _ARITHMETIC:
            other = copy.copy(statement)
            other.op = _ARITHMETIC[type(statement.op)]()
            yield statement, statement, ast.unparse(other), None
        annotation = getattr(statement, "annotation", None)
        for _, value in ast.iter_fields(statement):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.expr) and child is not annotation:
                    yield from self.of_expression(statement, child)
                elif isinstance(child, ast.withitem):
                    yield from self.of_expression(statement, child.context_expr)
        for name in ("body", "orelse", "finalbody"):
            yield from self.of_body(getattr(statement, name, []), function)
        for handler in getattr(statement, "handlers", []):
            yield from self.of_body(handler.body, function)

    def _all_of(self, statement: ast.stmt, expressions: Iterable[ast.expr]) -> Iterator[_Found]:
        for expression in expressions:
            yield from self.of_expression(statement, expression)

    def of_expression(self, statement: ast.stmt, node: ast.expr) -> Iterator[_Found]:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Call) and _is_log_call(node)):
            return
        for new, change in _replacements(node):
            yield statement, node, new, change
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from self.of_expression(statement, child)
            elif isinstance(child, ast.keyword):
                yield from self.of_expression(statement, child.value)
            elif isinstance(child, ast.comprehension):
                yield from self._all_of(statement, [child.iter, *child.ifs])
            elif isinstance(child, ast.arguments):
                yield from self._all_of(statement, child.defaults)


def _replacements(node: ast.expr) -> Iterator[tuple[ast.expr, str | None]]:
    """What can take the place of an expression, and what to say of it."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            yield _with(node, ops=[*node.ops[:place], _COMPARISONS[type(operator)](), *node.ops[place + 1 :]]), None
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or()), None
        for place, operand in enumerate(node.values):
            rest = [*node.values[:place], *node.values[place + 1 :]]
            word = "or" if isinstance(node.op, ast.Or) else "and"
            yield rest[0] if len(rest) == 1 else _with(node, values=rest), _left_out(operand, f"from the {word}")
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC and not _is_textual(node):
        yield _with(node, op=_ARITHMETIC[type(node.op)]()), None
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand, None
    elif isinstance(node, ast.IfExp):
        yield _with(node, body=node.orelse, orelse=node.body), None
    elif isinstance(node, ast.Constant):
        for constant in _other_constants(node.value):
            yield constant, None
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
            yield _with(node, func=ast.Name(_FUNCTIONS[node.func.id])), None
        for place, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                less = _with(node, keywords=[*node.keywords[:place], *node.keywords[place + 1 :]])
                yield less, _left_out(keyword, f"of {ast.unparse(node.func)}(...)")
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        for place, generator in enumerate(node.generators):
            for number, condition in enumerate(generator.ifs):
                fewer = _with(generator, ifs=[*generator.ifs[:number], *generator.ifs[number + 1 :]])
                all_of = _with(node, generators=[*node.generators[:place], fewer, *node.generators[place + 1 :]])
                yield all_of, f"if {_left_out(condition, 'from the comprehension')}"


def _left_out(node: ast.AST, where: str) -> str:
    return f"{_short(ast.unparse(node))}  ->  left out {where}"


def _other_constants(value: object) -> Iterator[ast.expr]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, float):
        yield ast.Constant(2 * value if value else 1.0)
    elif isinstance(value, str) and _WORD.fullmatch(value):
        yield ast.Constant(f"{value}_x")
    elif isinstance(value, bytes) and _WORD.fullmatch(value.decode("latin-1")):
        yield ast.Constant(value + b"_x")


def _with(node: ast.AST, **fields: object) -> ast.expr:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed  # type: ignore[return-value]


def _names(node: ast.expr) -> list[str]:
    return [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _has_complement(test: ast.expr) -> bool:
    """Return whether another mutation negates this condition already."""
    exact = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
    if isinstance(test, ast.Compare):
        return len(test.ops) == 1 and isinstance(test.ops[0], exact)
    return isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_textual(node: ast.BinOp) -> bool:
    """Return whether text is joined or formatted here: another operator would only raise TypeError."""
    sides = (node.left, node.right)
    return any(isinstance(side, ast.JoinedStr | ast.List | ast.Tuple) for side in sides) or any(
        isinstance(side, ast.Constant) and isinstance(side.value, str | bytes) for side in sides
    )


def _is_pause(statement: ast.stmt) -> bool:
    """Return whether a generator only pauses here, always or now and then."""
    if isinstance(statement, ast.If) and not statement.orelse:
        return all(map(_is_pause, statement.body))
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Yield) and _is_none(statement.value.value)


def _is_log(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and _is_log_call(statement.value)


def _is_log_call(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and {"log", "LOG", "EVENTS"} & {
        *_names(call.func), *(each.attr for each in ast.walk(call.func) if isinstance(each, ast.Attribute))
    } != set()  # fmt: skip


def _is_no_behaviour(statement: ast.stmt) -> bool:
    """Return whether names are given here to what is no behaviour: slots, loggers, type variables, help texts."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return any(isinstance(target, ast.Name) and _NO_BEHAVIOUR.fullmatch(target.id) for target in targets)


def _is_set_before(target: ast.expr, statement: ast.stmt, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether this place holds something already, so that the assignment can be left out."""
    if isinstance(target, ast.Tuple):
        return all(_is_set_before(each, statement, function) for each in target.elts)
    if not isinstance(target, ast.Name):
        return True
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    if any(argument.arg == target.id for argument in arguments):
        return True
    return any(
        isinstance(node, ast.Name) and node.id == target.id and isinstance(node.ctx, ast.Store) and node.lineno < statement.lineno
        for node in ast.walk(function)
    )
