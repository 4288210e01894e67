"""TLS certificates: an authority of one's own, the server's certificate, one for loopback."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fl_server.errors import StartError

CA_DAYS = 3650
SERVER_DAYS = 397  # as browsers allow; renew with omote-server renew
LOOPBACK_DAYS = 3650  # its key is made anew at each start, and never leaves the machine
LOOPBACK = ("127.0.0.1", "localhost")
_SLACK = timedelta(hours=1)  # clocks of sites that are behind
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def key_pem(self) -> bytes:
        """The private key in PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def certificate_pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def make_authority(name: str, now: datetime) -> Pair:
    """Make a certificate authority that can vouch for servers and for nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} CA")])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(subject, subject, key, now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return Pair(key, builder.sign(key, hashes.SHA256()))


def make_certificate(
    authority: Pair, hosts: tuple[str, ...], now: datetime, days: int = SERVER_DAYS
) -> Pair:
    """Make a server's key and certificate for host names and addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    issuer = authority.certificate
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        _builder(subject, issuer.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_name(h) for h in hosts]), critical=False)
        .add_extension(authority_id, critical=False)
    )
    return Pair(key, builder.sign(authority.key, hashes.SHA256()))


def load_authority(key_pem: bytes, certificate_pem: bytes) -> Pair:
    """Read an authority that ``make_authority`` made.

    Raises:
        StartError: Key and certificate are not, or are of two authorities.
    """
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as e:
        raise StartError("ca.key or ca.pem: not PEM") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StartError("ca.key: expected an elliptic curve key, as omote-server init makes")
    if key.public_key() != certificate.public_key():
        raise StartError("ca.key and ca.pem are of two authorities")
    return Pair(key, certificate)


def check_certificate(
    certificate_pem: bytes, key_pem: bytes, ca_pem: bytes, host: str, now: datetime
) -> datetime:
    """Check that sites will take a server's certificate; return when it ends.

    Raises:
        StartError: It is not of the key, of another host, over, or not vouched for by the CA.
    """
    try:
        chain = x509.load_pem_x509_certificates(certificate_pem)
        authorities = x509.load_pem_x509_certificates(ca_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
    except ValueError as e:
        raise StartError("certificate, key or CA: not PEM") from e
    if key.public_key() != chain[0].public_key():
        raise StartError("the certificate is not of the server's key")
    verifier = (
        x509.verification.PolicyBuilder()
        .store(x509.verification.Store(authorities))
        .time(now)
        .build_server_verifier(_name(host))
    )
    try:
        verifier.verify(chain[0], chain[1:])
    except x509.verification.VerificationError as e:
        end = chain[0].not_valid_after_utc
        raise StartError(
            f"sites would refuse the certificate for {host} (valid until {end:%Y-%m-%d}): {e}; "
            "a new one of the same CA: omote-server renew"
        ) from e
    return chain[0].not_valid_after_utc


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(**wanted: bool) -> x509.KeyUsage:
    none = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**{**none, **wanted})


def _name(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
