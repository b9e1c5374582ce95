"""
The ways in which clients say who they are that come with jobpush: their options. What they do is loaded when one is asked for.
(Tests: tests/test_authentication.py.)
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.adapter.kinds import Kind, Number, Path, Text
from jobpush.adapter.options import DeclaredOptions, option, read_options
from jobpush.authentication import IAuthenticatorFactory


@attrs.frozen
class SlurmTokenOptions:
    """The options of ``slurm-jwt``."""

    jwks: str | None = option(
        Path(),
        None,
        "the JWKS file with the public RSA keys (RS256), as in Slurm's AuthAltParameters=jwks=",
        example="/etc/slurm/jwks.json",
    )
    key: str | None = option(
        Path(),
        None,
        "instead, the file with the secret that Slurm signs with (HS256), for jobpush's user or group alone",
        example="/etc/jobpush/jwt_hs256.key",
    )


@attrs.frozen
class ProxyOptions:
    """The options of ``proxy``."""

    header: str | None = option(
        Text("NAME"),
        None,
        "the header in which the proxy names the user; it takes it away from what clients send",
        example="X-Remote-User",
    )
    peer: str | None = option(
        Text("USER,…"),
        None,
        "the account, or the uid, that the proxy runs as, which asks over a unix socket; more than one with commas",
        example="www-data",
    )
    certificate: str | None = option(
        Text("NAME,…"),
        None,
        "the name in the certificate with which the proxy asks over jobpush-tls:…:clientCAs=FILE (the common name, or a DNS "
        "name); more than one with commas",
        example="portal.example.org",
    )


@attrs.frozen
class MapOfUsers(Kind[str]):
    """A path, or ``same``."""

    placeholder = "PATH|same"
    expected = "the path of a map of users, or same"

    def read(self, value: object, directory: str = "") -> str:
        return "same" if value == "same" else Path().read(value, directory)


@attrs.frozen
class OidcOptions:
    """The options of ``oidc``."""

    issuer: str | None = option(
        Text("URL"), None, "the issuer, as its tokens have it (iss)", example="https://id.example.org/realms/hpc"
    )
    audience: str | None = option(Text(), None, "what its tokens for this service have as their aud", example="jobpush")
    jwks: str | None = option(
        Text("URL"),
        None,
        "where its keys are",
        example="https://id.example.org/realms/hpc/protocol/openid-connect/certs",
    )
    claim: str = option(Text("NAME"), "preferred_username", "the claim that says who the user is")
    map: str | None = option(
        MapOfUsers(),
        None,
        'a TOML file of lines "what the claim says" = "user"; same: the claim is the name of the user',
        example="/etc/jobpush/users.toml",
    )
    refresh: float = option(Number("seconds", 10.0), 600.0, "seconds after which its keys are fetched again")


@attrs.frozen
class UsersOptions:
    """The options of ``users``."""

    file: str | None = option(Path(), None, "the file of users, as jobpush users writes it", example="/etc/jobpush/users")


class LoadedFactory(DeclaredOptions):
    """
    Loads what makes the authenticators when one is asked for.

    :cvar maker: the full name of a function: (reactor, options) to an authenticator; raises `BadQueueOption`.
    :cvar extra: the extra of jobpush that it needs, if it needs one.
    """

    auth_type: ClassVar[str]
    maker: ClassVar[str]
    extra: ClassVar[str] = ""

    def generate_authenticator(self, reactor: object, options: Mapping[str, object]) -> Any:
        read: Any = read_options(self.options_class, options)
        try:
            module, _, name = self.maker.rpartition(".")
            make = getattr(import_module(module), name)
        except ImportError as error:
            if not self.extra:
                raise
            raise BadQueueOption(f"it needs the extra {self.extra}, pip install 'jobpush[{self.extra}]' ({error})") from None
        return make(reactor, read)


@implementer(IPlugin, IAuthenticatorFactory)
class SlurmTokenFactory(LoadedFactory):
    """Makes what reads Slurm's tokens."""

    auth_type = "slurm-jwt"
    auth_help = "the token of Slurm's auth/jwt (scontrol token), as X-SLURM-USER-TOKEN or a bearer token"
    options_class = SlurmTokenOptions
    maker = "jobpush.web.slurm_tokens.make"
    extra = "jwt"


@implementer(IPlugin, IAuthenticatorFactory)
class ProxyFactory(LoadedFactory):
    """Makes what believes a proxy."""

    auth_type = "proxy"
    auth_help = "a header of a trusted proxy on this host, which has found out who asks and connects to a unix socket"
    options_class = ProxyOptions
    maker = "jobpush.web.proxy_header.make"


@implementer(IPlugin, IAuthenticatorFactory)
class OidcFactory(LoadedFactory):
    """Makes what reads the tokens of an OpenID Connect issuer."""

    auth_type = "oidc"
    auth_help = "a bearer token of an OpenID Connect issuer, such as Keycloak"
    options_class = OidcOptions
    maker = "jobpush.web.oidc.make"
    extra = "oidc"


@implementer(IPlugin, IAuthenticatorFactory)
class UsersFactory(LoadedFactory):
    """Makes what knows the users of a file by their passwords."""

    auth_type = "users"
    auth_help = "a name and a password (HTTP Basic, on a unix socket or over TLS) of a file of users"
    options_class = UsersOptions
    maker = "jobpush.web.users_file.make"
    extra = "users"
