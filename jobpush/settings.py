"""
The options of the service. `Settings` is the one table of them; everything else follows from it.

Each field of `Settings` declares an option: its name, what values it takes, its default, its help, and where it may stand.
From that follow the options of ``twistd jobpush`` (`CommandLine`), the TOML file (`read_file`), the sample file and the
reference page (`jobpush.option_texts`). Nothing here opens what an option names, but the TOML file.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import attrs
from twisted.python import usage

from jobpush.adapter import kinds
from jobpush.adapter.kinds import HostName, Kind, Many, Number, Origin, Path, Text, WholeNumber, YesNo, YesNoAuto
from jobpush.adapter.options import declared
from jobpush.adapter.registry import Component, ComponentKind
from jobpush.core.workflow_quotas import Quotas
from jobpush.events.journal import Retention
from jobpush.listen_addresses import HealthAddress, HealthAddressKind, Nowhere, Port, UnixSocket, UnixSocketKind
from jobpush.polling.nudge_sockets import AddressKind, UdpAddress, UnixAddress
from jobpush.setting import AnySetting, Place, Setting, setting

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

DAY_S = 86400.0


class ConfigError(Exception):
    """An option cannot be taken. One line that names where it was given, its value, and what was expected."""


@attrs.frozen
class Settings:
    """
    What the service is told to do: each option as the command line says, else as the file says, else its default.

    This is the table of the options. An option is added here and nowhere else.
    """

    config: str | None = setting(
        Path(),
        None,
        "A TOML file with the same settings; the command line goes before it",
        short="c",
        places=Place.COMMAND_LINE,
    )
    port: str | None = setting(
        Port(),
        None,
        "Where to listen: digits mean that port on loopback; else an endpoint string",
        short="p",
        default_text="the sockets that systemd has handed over (jobpush.socket), else port 8080 on loopback",
        example="8080",
        details="Endpoint strings are Twisted's, such as unix:/run/jobpush/http.sock:mode=660 or tcp:8080:interface=0.0.0.0. "
        "What others than this host's users can reach needs private and TLS (jobpush-tls:8443:cert=FILE:key=FILE), or "
        "allow_anonymous.",
    )
    hosts: tuple[str, ...] = setting(
        Many(HostName()),
        (),
        "A name or address that clients and proxies ask for (the Host header)",
        name="host",
        default_text="loopback, and the names and addresses of this host",
        example=("jobs.example.org", "*.cluster.example.org"),
        details="Ports are ignored; *.example.org is each name below example.org. Another Host is answered with 421: a page in "
        "a browser can give this host a name of its own. See docs/security.md. Read again on SIGHUP.",
    )
    cors: tuple[str, ...] = setting(
        Many(Origin()),
        (),
        "The origin of a site whose pages may ask here from browsers",
        default_text="none",
        example=("https://gateway.example.org",),
        details="Scheme, host, and a port if it is not the scheme's own; there is no way to list all. Such a page may do what "
        "everybody may who reaches the port, and with a token what its user may. See docs/security.md. Read again on SIGHUP.",
    )
    allow_anonymous: bool = setting(
        YesNo(), False, "Serve all jobs to everybody who reaches the port, even where the scheduler hides them"
    )
    socket: UnixSocket | Nowhere | None = setting(
        UnixSocketKind(0o666),
        None,
        "Where users of this host ask too, who are known there by their processes: unix:PATH, or none",
        default_text="jobpush.sock in the runtime directory that systemd has made (RUNTIME_DIRECTORY), else none",
        example="unix:/run/jobpush/jobpush.sock",
        details="The kernel says who asks; each user may connect, unless :mode= says otherwise. The command `jobpush` uses it "
        "by itself, and `jobpush login` makes a token there for the port.",
    )
    private: bool | None = setting(
        YesNoAuto(),
        None,
        "Whether users see their own jobs alone",
        default_text="auto: as the schedulers have it",
        example=True,
        details="Where they do, who asks must say who he is: on the socket, or with a token.",
    )
    operators: tuple[str, ...] = setting(
        Many(Text("USER")),
        (),
        "A user who sees everybody's jobs, or @GROUP",
        name="operator",
        example=("kim", "@hpc-staff"),
    )
    health: HealthAddress | None = setting(
        HealthAddressKind(),
        None,
        "Where health checks are answered at any time, /healthz and /readyz alone: an endpoint, or none",
        default_text="health.sock in the runtime directory that systemd has made (RUNTIME_DIRECTORY), else in the state "
        "directory, else none",
        example="unix:/run/jobpush/health.sock:mode=666",
        details="A thread of its own answers there, whatever load the port is under. Without :mode= a unix socket is for "
        "jobpush's own user and group (660). It shows no jobs, but the names of the queues and what is wrong with them.",
    )
    state: str | None = setting(
        Path(),
        None,
        "The directory of the journal",
        short="s",
        default_text="in memory, nothing survives a restart",
        example="/var/lib/jobpush",
        in_sample=True,
        details="On a local disk: not NFS, Lustre or GPFS.",
    )
    keep_events: int = setting(
        WholeNumber(least=1),
        Retention().events,
        "How many events the journal keeps",
        details="A client that comes back with an older cursor is told so (410) and begins anew with a snapshot.",
    )
    keep_days: float = setting(
        Number("days", most=36500),
        Retention().seconds / DAY_S,
        "For how many days the journal keeps events and ended workflows",
    )
    new_epoch: bool = setting(
        YesNo(),
        False,
        "Forget all cursors of before: needed after the whole machine was set back while jobpush ran",
        places=Place.COMMAND_LINE,
    )
    interval: float | None = setting(
        Number("seconds"),
        None,
        "Seconds between two queries, for queues that do not say their own",
        short="i",
        default_text="2 while somebody waits, up to 5 otherwise",
        example=2,
        details="In the long run queries take at most 5 % of the time.",
    )
    max_held: int | None = setting(
        WholeNumber(least=1),
        None,
        "How many requests may be held at once",
        default_text="what the limit of open files allows",
        example=20000,
        details="In a systemd unit that limit is LimitNOFILE.",
    )
    max_held_each: int | None = setting(
        WholeNumber(least=1),
        None,
        "How many requests may be held at once for one user, and for all together who do not say who they are",
        default_text="a quarter of max_held where users can say who they are, else max_held",
        example=5000,
        details="One more is answered with 429; with 503 where max_held is reached.",
    )
    max_connections_each: int | None = setting(
        WholeNumber(least=1),
        None,
        "How many connections one user of this host, or one address elsewhere, may have",
        default_text="a quarter of what the limit of open files allows where users can say who they are, else any number",
        example=4000,
        details="It holds while half of the connections are taken. Those of the accounts of --auth proxy are exempt.",
    )
    max_requests: int | None = setting(
        WholeNumber(least=1),
        None,
        "How many requests a second are answered in the long run",
        default_text="any number",
        example=5000,
        details="Others are answered with 503. As many as may be held may come at once: they do, after an event.",
    )
    max_requests_each: int | None = setting(
        WholeNumber(least=1),
        None,
        "How many requests a second are answered in the long run to one user, and to all together who do not say who they are",
        default_text="1000 where users can say who they are, else any number",
        example=200,
        details="Others are answered with 429. As many as may be held for one may come at once: they do, after an event.",
    )
    owner_workflows: int = setting(
        WholeNumber(),
        Quotas().owner.workflows,
        "How many workflows one user may have, put or found in jobs' tags",
        details="Those that are nobody's count as one user's. What is more is refused (429); of tags, passed over.",
    )
    owner_workflow_jobs: int = setting(
        WholeNumber(), Quotas().owner.members, "How many jobs all workflows of one user may have"
    )
    owner_workflow_mb: int = setting(
        WholeNumber(most=2**20), Quotas().owner.size // 2**20, "How many MiB of memory all workflows of a user take up at most"
    )
    max_workflows: int = setting(
        WholeNumber(),
        Quotas().total.workflows,
        "How many workflows there may be in all",
        details="What is more is refused (503). What is found in jobs' tags takes up at most three quarters of what there may "
        "be in all, of workflows, jobs and memory.",
    )
    max_workflow_jobs: int = setting(WholeNumber(), Quotas().total.members, "How many jobs all workflows may have")
    max_workflow_mb: int = setting(
        WholeNumber(most=2**20), Quotas().total.size // 2**20, "How many MiB of memory all workflows take up at most"
    )
    keep_channels: bool = setting(
        YesNo(),
        False,
        "Keep the whole HTTP channel of each held request (ten times the memory)",
        details="With false requests are held without their channels where that can be done.",
    )
    show_version: bool = setting(
        YesNo(),
        False,
        "Tell the version to all in /readyz and /metrics, not to operators alone",
        details="It says which known faults may be tried. `jobpush_info` of /metrics is there for whoever is told the version.",
    )
    debug_invariants: bool = setting(
        YesNo(),
        False,
        "Check each second what must be so of held requests, and log as an error what is not",
        details="It costs some milliseconds a second for each ten thousand held requests.",
    )
    access_log: str | None = setting(
        Path(),
        None,
        "The file of the access log, a new one each day",
        default_text="the service's log",
        example="/var/log/jobpush/access.log",
        details="Combined Log Format, then the seconds for which the request was held. What is no ordinary file "
        "(`/dev/stdout`, a link) is not moved away for a new one.",
    )
    static: str | None = setting(
        Path(), None, "A directory with a site's own pages, served beside the API", example="/usr/share/jobpush/site"
    )
    nudge: tuple[UnixAddress | UdpAddress, ...] = setting(
        Many(AddressKind()),
        (),
        'Where hooks say "look now": unix:PATH:mode=666 or udp:HOST:PORT',
        default_text='the socket "nudge" in the state directory',
        example=("unix:/run/jobpush/nudge:mode=666", "udp:10.0.0.5:8088"),
        details="That socket is for jobpush's own user and group. Slurm's submit hook runs as whoever submits: mode=666. What "
        "comes by UDP must be signed with a secret. See docs/freshness.md.",
    )
    nudge_secret: str | None = setting(
        Path(), None, "The file with the secret that nudges by UDP are signed with", example="nudge.secret"
    )
    queues: tuple[Component, ...] = setting(
        Many(ComponentKind("queue")),
        (),
        "A queue to watch",
        switch_help="A queue to watch, as TYPE or TYPE:key=value:…; see --help-queues",
        name="queue",
        short="q",
        default_text="the schedulers found on this host, else a demonstration",
        details="`twistd jobpush --help-queues` lists the types, `--help-queue-type TYPE` the options of one.",
    )
    listeners: tuple[Component, ...] = setting(
        Many(ComponentKind("listener")),
        (),
        "A listener inside the service",
        switch_help="A listener inside the service, as TYPE or TYPE:key=value:…; see --help-queues",
        name="listener",
        details="It is told every event, in order, and goes on where it stopped.",
    )
    auth: tuple[Component, ...] = setting(
        Many(ComponentKind("auth")),
        (),
        "A way in which clients say who they are, beside the socket and tokens",
        switch_help="A way in which clients say who they are, as TYPE or TYPE:key=value:…; see --help-auth",
        default_text="the socket, and tokens that are made there",
        details="`twistd jobpush --help-auth` lists the types, `--help-auth-type TYPE` the options of one. What they mean "
        "stands in docs/identity.md.",
    )


def settings_at(place: Place) -> tuple[AnySetting, ...]:
    """Return the options that may stand there, in the order of the table."""
    return tuple(item for item in declared(Settings) if isinstance(item, Setting) and item.places & place)


@attrs.frozen
class Given:
    """
    An option as somebody gave it.

    :ivar value: as `Settings` has it.
    :ivar where: where it was given and how, for errors: ``--port 99999``, ``jobpush.toml: port = 99999``.
    """

    value: Any
    where: str


def make_settings(given: Mapping[str, Given]) -> Settings:
    """Return the settings with these values, by field, and the defaults of the others."""
    return Settings(**{field: item.value for field, item in given.items()})


def load(path: str) -> Settings:
    """
    Return the settings that a TOML file makes by itself.

    :raise ConfigError: as `read_file` does.
    """
    return make_settings(read_file(path))


def read_file(path: str) -> dict[str, Given]:
    """
    Return what a TOML file gives, by field of `Settings`. Paths in it are relative to its directory.

    :raise ConfigError: naming the file, the key, its value and what was expected.
    """
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    known = {item.name: item for item in settings_at(Place.FILE)}
    for key in table:
        if key not in known:
            keys = ", ".join(sorted(item.key for item in known.values()))
            raise ConfigError(f"{path}: unknown key {key!r}; known are {keys}")
    return {known[key].field: _given_in_file(path, known[key], value) for key, value in table.items()}


def _given_in_file(path: str, item: AnySetting, value: object) -> Given:
    directory = os.path.dirname(os.path.abspath(path))

    def one(kind: Kind[object], part: object, where: str) -> object:
        if not kinds.is_toml_of(kind, part):
            raise ConfigError(f"{where}: {kind.unexpected()}")
        return _read(kind, part, where, directory)

    where = f"{path}: {f'[{item.name}]' if isinstance(value, dict) else f'{item.name} = {kinds.to_toml(value)}'}"
    if not isinstance(item.kind, Many):
        return Given(one(item.kind, value, where), where)
    element = item.kind.element
    if not isinstance(value, list):
        raise ConfigError(f"{where}: {element.unexpected() if item.is_table else item.kind.unexpected()}")
    places = [f"{path}: {item.key} {n}" if item.is_table else where for n in range(1, len(value) + 1)]
    return Given(tuple(one(element, part, place) for part, place in zip(value, places, strict=True)), where)


def _read(kind: Kind[object], value: object, where: str, directory: str = "") -> object:
    try:
        read = kind.read(value, directory)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    return attrs.evolve(read, where=where) if isinstance(read, Component) else read


class CommandLine(usage.Options):
    """
    The options of the table on a command line, for a subclass that adds what is no setting.

    An error is one line: under twistd, which would print all options before it, it ends the process with status 1.
    """

    optParameters: Sequence[Sequence[object]] = [
        [item.switch, item.short or None, None, item.switch_line]
        for item in settings_at(Place.COMMAND_LINE)
        if not item.is_flag and not item.is_repeated
    ]
    optFlags: Sequence[Sequence[object]] = [
        [item.switch, item.short or None, item.switch_line] for item in settings_at(Place.COMMAND_LINE) if item.is_flag
    ]

    def __init__(self) -> None:
        super().__init__()
        self._repeated: dict[str, list[str]] = {}

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            raise SystemExit(f"jobpush: {error}") from None

    def parseArgs(self, *arguments: str) -> None:
        """
        :raise UsageError: if there is anything but options.
        """
        if arguments:
            raise usage.UsageError(f"{arguments[0]!r} is no option; options begin with --")

    def given(self) -> dict[str, Given]:
        """
        Return what the command line gives, by field of `Settings`. Paths are relative to the working directory.

        :raise ConfigError: naming the option, its value and what was expected.
        """
        items = [(item, self._texts(item)) for item in settings_at(Place.COMMAND_LINE)]
        return {item.field: _given_on_command_line(item, texts) for item, texts in items if texts}

    def _texts(self, item: AnySetting) -> Sequence[str]:
        """Return the values that were given: of a flag an empty text."""
        if item.is_repeated:
            return self._repeated.get(item.field, ())
        value = self[item.switch]
        if item.is_flag:
            return ("",) if value else ()
        return () if value is None else (value,)

    @classmethod
    def repeatable(cls, item: AnySetting) -> None:
        """Add an option that may be given several times."""

        def take(self: CommandLine, text: str) -> None:
            self._repeated.setdefault(item.field, []).append(text)

        take.__doc__ = item.switch_line
        setattr(cls, f"opt_{item.switch.replace('-', '_')}", take)
        if item.short:
            setattr(cls, f"opt_{item.short}", take)


for _item in settings_at(Place.COMMAND_LINE):
    if _item.is_repeated:
        CommandLine.repeatable(_item)


def _given_on_command_line(item: AnySetting, texts: Sequence[str]) -> Given:
    if item.is_flag:
        return Given(not item.default, f"--{item.switch}")
    spelled = [f"--{item.switch} {shlex.quote(text)}" for text in texts]
    if not isinstance(item.kind, Many):
        return Given(_read(item.kind, texts[0], spelled[0]), spelled[0])
    element = item.kind.element
    return Given(tuple(_read(element, text, where) for text, where in zip(texts, spelled, strict=True)), " ".join(spelled))
