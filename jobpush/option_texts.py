"""
The sample configuration file and the reference page, made from what declares the options.

    python -m jobpush.option_texts sample slurm log > etc/jobpush.toml
    python -m jobpush.option_texts reference > docs/options.md

Both list the types of queues, listeners and authenticators that are installed.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

from jobpush.adapter.kinds import Many
from jobpush.adapter.options import DeclaredOptions, Option, declared
from jobpush.adapter.registry import queue_factories
from jobpush.authentication import authenticator_factories
from jobpush.events.listeners import listener_factories
from jobpush.polling.queue_options import CommonOptions
from jobpush.setting import AnySetting, Place
from jobpush.settings import settings_at

#: A declaration, whatever the type of its value.
AnyOption = Option[Any]


class Factory(Protocol):
    """A factory of queues, listeners or authenticators."""

    @property
    def arg_string_format(self) -> str:
        """The options that it takes, one ``key=VALUE: meaning`` a line."""


#: The longest line of either text.
WIDTH = 118

#: The column at which comments begin that stand behind an option of a queue.
COMMENT_COLUMN = 32

_SAMPLE_HEAD = """\
# A sample configuration of jobpush:  twistd --nodaemon --pidfile= jobpush --config /etc/jobpush/jobpush.toml
#
# Every key is optional. What is unknown or of the wrong kind is refused by name at the start. The command line goes
# before this file. Relative paths are relative to this file's directory. The settings of the service stand above the
# first [[table]]: a key below it belongs to that table.
"""

_PAGE_HEAD = """\
# Options

`twistd jobpush` takes its options from the command line and from a TOML file that `--config` names; the command line goes
before the file. A relative path on the command line is relative to the working directory, one in the file to the file's
directory. In the file the settings of the service stand above the first `[[table]]`: a key below it belongs to that
table. What is unknown or of the wrong kind is refused at the start, in one line with the option, its value and what was
expected.

A sample of the file is [etc/jobpush.toml](../etc/jobpush.toml). The sample and this page are made from the declarations
of the options, in `jobpush/settings.py` and by the adapters, with `python -m jobpush.option_texts`.

## Options of the service
"""

_QUEUE_HEAD = """\
## Options of a queue

As `--queue TYPE:key=value:…`, where `\\:` stands for a colon in a value, or as a table `[[queue]]` with `type = "TYPE"`.
`twistd jobpush --help-queue-type TYPE` shows them too.
"""

_LISTENER_HEAD = """\
## Options of a listener

As `--listener TYPE:key=value:…`, or as a table `[[listener]]` with `type = "TYPE"`.
"""

_AUTH_HEAD = """\
## Options of a way to say who one is

As `--auth TYPE:key=value:…`, or as a table `[[auth]]` with `type = "TYPE"`. `twistd jobpush --help-auth-type TYPE` shows them
too. What they mean is told in [who asks](identity.md).
"""


def sample(active: Collection[str] = ()) -> str:
    """
    Return a TOML file with all options, most of them as comments.

    :param active: the types of queues and listeners whose tables are no comments.
    """
    tables = {
        "queue": _tables("queue", queue_factories(), active, declared(CommonOptions)),
        "listener": _tables("listener", listener_factories(), active, ()),
        "auth": _tables("auth", authenticator_factories(), active, ()),
    }
    parts = [_SAMPLE_HEAD]
    for item in settings_at(Place.FILE):
        parts.append(_comment(_sentences(item)) + (tables[item.name] if item.is_table else _line(item)))
    return "\n".join(parts)


def reference() -> str:
    """Return a page in Markdown with all options."""
    sections = [_section(item) for item in settings_at(Place.BOTH)]
    queues = [_type_section(factory.queue_type, factory.queue_help, factory) for factory in queue_factories()]
    listeners = [_type_section(factory.listener_type, factory.listener_help, factory) for factory in listener_factories()]
    ways = [_type_section(factory.auth_type, factory.auth_help, factory) for factory in authenticator_factories()]
    every = f"### Every type\n\n{_bullets(declared(CommonOptions))}"
    return "\n".join([_PAGE_HEAD, *sections, _QUEUE_HEAD, every, *queues, _LISTENER_HEAD, *listeners, _AUTH_HEAD, *ways])


def _sentences(item: AnySetting) -> str:
    """Return the help and the details of an option, and its default where no value shows it."""
    default = f"Default: {item.default_text}." if item.default_text else ""
    return " ".join(sentence for sentence in (f"{item.help}.", default, item.details) if sentence)


def _options_of(factory: Factory) -> tuple[AnyOption, ...]:
    """Return the options of a factory; none if it does not declare them by a class."""
    return declared(factory.options_class) if isinstance(factory, DeclaredOptions) else ()


# -- the sample


def _line(item: AnySetting) -> str:
    """Return a line that gives an option its default, or an example as a comment."""
    return f"{item.assignment}\n" if item.example is None or item.in_sample else f"# {item.assignment}\n"


def _tables(name: str, factories: Iterable[Factory], active: Collection[str], common: Sequence[AnyOption]) -> str:
    """Return a table for each type, the active ones first. The first has the common options too."""
    by_type = {getattr(factory, f"{name}_type"): factory for factory in factories}
    tables: list[str] = []
    for component_type in sorted(by_type, key=lambda known: (known not in active, known)):
        factory, mark = by_type[component_type], "" if component_type in active else "# "
        lines = [f"[[{name}]]", *_beside(f'type = "{component_type}"', getattr(factory, f"{name}_help"))]
        lines += [line for option in _options_of(factory) for line in _option_lines(option, not mark)]
        if common and not tables:
            lines.append("# options of every type of queue:")
            lines += [line for option in common for line in _option_lines(option, not mark)]
        tables.append("".join(f"{mark}{line}\n" for line in lines))
    return "\n".join(tables)


def _option_lines(option: AnyOption, is_active: bool) -> list[str]:
    if not is_active or option.in_sample:
        return _beside(option.assignment, option.help_line)
    return [f"# {line}" for line in _beside(option.assignment, option.help_line, COMMENT_COLUMN - 2)]


def _beside(assignment: str, comment: str, column: int = COMMENT_COLUMN) -> list[str]:
    """Return an assignment with a comment behind it, on as many lines as that takes."""
    column = max(column, len(assignment) + 1)
    chunks = textwrap.wrap(comment, WIDTH - column, break_on_hyphens=False)
    begins = [assignment, *[""] * (len(chunks) - 1)]
    return [f"{begin:<{column}}# {chunk}" for begin, chunk in zip(begins, chunks, strict=True)]


def _comment(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"


# -- the reference page


def _section(item: AnySetting) -> str:
    facts = [f"command line: {_switches(item)}"] if item.places & Place.COMMAND_LINE else []
    if item.places & Place.FILE:
        facts.append(f"file: `{item.key if item.is_table else item.assignment}`")
    if not item.is_flag and not item.is_table:
        facts.append(f"expected: {item.kind.element.expected if isinstance(item.kind, Many) else item.kind.expected}")
    if item.default not in (None, ()):
        facts.append(f"default: `{item.kind.toml(item.default)}`")
    return f"### {item.name}\n\n{_fill(_sentences(item))}\n\n" + "".join(f"- {fact}\n" for fact in facts)


def _switches(item: AnySetting) -> str:
    value = "" if item.is_flag else f" {item.kind.placeholder}"
    switches = [f"`--{item.switch}{value}`", *([f"`-{item.short}{value}`"] if item.short else [])]
    return " or ".join(switches) + (", repeatable" if item.is_repeated else "")


def _type_section(component_type: str, help: str, factory: Factory) -> str:
    options = _options_of(factory)
    listed = _bullets(options) if options else f"```\n{factory.arg_string_format}\n```\n"
    return f"### {component_type}\n\n{_fill(f'`{component_type}` is {help}.')}\n\n{listed}"


def _bullets(options: Iterable[AnyOption]) -> str:
    lines = (f"- `{option.name}={option.kind.placeholder}`: {option.help_line}" for option in options)
    return "".join(f"{_fill(line, '  ')}\n" for line in lines)


def _fill(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def main(arguments: Sequence[str]) -> int:
    """Write one of the two texts to standard output, and return the exit status."""
    texts = {"sample": lambda: sample(arguments[1:]), "reference": reference}
    if not arguments or arguments[0] not in texts:
        print("usage: python -m jobpush.option_texts sample [TYPE …] | reference", file=sys.stderr)
        return 2
    sys.stdout.write(texts[arguments[0]]())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
