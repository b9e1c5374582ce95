"""Certificates for tests: an authority, and what it certifies."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@attrs.frozen
class Pair:
    """
    A certificate and its key, in files of PEM.

    :ivar cert: the certificate's.
    :ivar key: the key's, which its owner alone can read.
    :ivar serial: of the certificate.
    """

    cert: Path
    key: Path
    serial: int


class Authority:
    """An authority of its own. :ivar cert: the file of its certificate."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.cert = directory / f"{name}.pem"
        made = self._builder(self._name, self._key, days=2).add_extension(x509.BasicConstraints(True, None), True)
        self.cert.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=9))
            .not_valid_after(now + datetime.timedelta(days=days))
        )  # fmt: skip

    def pair(self, name: str, days: int = 2) -> Pair:
        """Certify a name at 127.0.0.1, for so many days from now on."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = self._builder(subject, key, days).add_extension(names, False).sign(self._key, hashes.SHA256())
        found = Pair(self._directory / f"{name}.crt", self._directory / f"{name}.key", made.serial_number)
        found.cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        with open(os.open(found.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(key.private_bytes(serialization.Encoding.PEM, *plain))
        return found
