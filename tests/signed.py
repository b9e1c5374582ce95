"""Keys and signed tokens for tests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

SECRET = b"0123456789abcdef0123456789abcdef"


def rsa_key(number: int = 0, bits: int = 2048) -> Any:
    """A private key, the same for the same number."""
    return _made(number, bits)


@lru_cache
def _made(number: int, bits: int) -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def public_pem(number: int = 0) -> bytes:
    """The public half, as a secret that an attacker knows."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = rsa_key(number).public_key().public_bytes(serialization.Encoding.PEM, form)
    return pem


def entry(number: int = 0, bits: int = 2048, **more: Any) -> dict[str, Any]:
    """A key in a JWKS document."""
    return {**json.loads(RSAAlgorithm.to_jwk(rsa_key(number, bits).public_key())), "kid": f"k{number}", **more}


def jwks(*numbers: int) -> bytes:
    """A JWKS document of these keys."""
    return json.dumps({"keys": [entry(number) for number in numbers]}).encode()


def claims(now: float, **more: Any) -> dict[str, Any]:
    """Of kim, for a minute; None takes one away."""
    made = {"sun": "kim", "iat": now, "exp": now + 60, **more}
    return {name: value for name, value in made.items() if value is not None}


def rs256(said: dict[str, Any], number: int = 0, **head: Any) -> str:
    """Signed with an RSA key."""
    headers = {name: value for name, value in {"kid": f"k{number}", **head}.items() if value is not None}
    return jwt.encode(said, rsa_key(number), "RS256", headers=headers)


def hs256(said: dict[str, Any], secret: bytes = SECRET) -> str:
    """Signed with a secret."""
    return raw({"alg": "HS256", "typ": "JWT"}, json.dumps(said), secret)


def raw(head: Any, payload: str, secret: bytes = SECRET) -> str:
    """With any header and any payload, signed with a secret by HMAC."""
    parts = [b64(json.dumps(head) if not isinstance(head, str) else head), b64(payload)]
    signature = hmac.new(secret, ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join((*parts, b64(signature)))


def b64(data: str | bytes) -> str:
    """As tokens have it."""
    return base64.urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()
