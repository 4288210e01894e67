"""Key agreement, secret sharing and encryption between sites. The primitives are Flower's.

P-384 ECDH with HKDF-SHA256, Shamir's sharing over 16-byte blocks, Fernet. Flower's masks, its
fixed-point code and its protocol are not used (docs/adr/0018).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from cryptography.fernet import InvalidToken
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import (
    decrypt,
    encrypt,
    generate_shared_key,
)
from flwr.supercore.primitives.asymmetric import generate_key_pairs

PrivateKey = ec.EllipticCurvePrivateKey
KEY_BYTES = 48  # of a private key on P-384
MAX_TRIES = 64  # subsets of shares, when some are wrong


def new_key() -> PrivateKey:
    """Make a key for one round."""
    private, _ = generate_key_pairs()
    return private


def public_text(key: PrivateKey) -> str:
    """Return the public half, in hex."""
    raw = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return raw.hex()


def agreed_secret(key: PrivateKey, other: str) -> bytes:
    """Return the secret that two key holders have in common, as a key for ``seal``.

    Raises:
        ValueError: ``other`` is no point of the curve.
    """
    return generate_shared_key(key, _point(other))


def check_public(text: str) -> None:
    """Check a public key.

    Raises:
        ValueError: It is no point of the curve.
    """
    _point(text)


def _point(text: str) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), bytes.fromhex(text))


def key_secret(key: PrivateKey) -> bytes:
    """Return the private half as bytes."""
    return key.private_numbers().private_value.to_bytes(KEY_BYTES, "big")


def key_of(secret: bytes) -> PrivateKey:
    """Return the key of such bytes.

    Raises:
        ValueError: They are none.
    """
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP384R1())


def split(secret: bytes, threshold: int, num: int) -> list[bytes]:
    """Return ``num`` shares of a secret, of which any ``threshold`` give it back."""
    return create_shares(secret, threshold, num)


def recover(
    shares: Sequence[bytes], threshold: int, is_right: Callable[[bytes], bool]
) -> bytes | None:
    """Return the secret of some shares, or None if no subset that was tried gives the right one.

    Args:
        shares: Of different holders; some may be wrong.
        threshold: How many are needed.
        is_right: Knows the secret when it sees it.
    """
    for subset in itertools.islice(itertools.combinations(shares, threshold), MAX_TRIES):
        try:
            secret = combine_shares(list(subset))
            if is_right(secret):
                return secret
        except (ValueError, IndexError):  # wrong shares give anything
            continue
    return None


def index_of(share: bytes) -> int:
    """Return which share of a secret it is, from 1."""
    return int.from_bytes(share[:4], "little")


def seal(secret: bytes, plaintext: bytes) -> str:
    """Encrypt for whoever agreed on ``secret``."""
    return encrypt(secret, plaintext).decode()


def unseal(secret: bytes, token: str) -> bytes:
    """Decrypt.

    Raises:
        ValueError: It was not made with this secret.
    """
    try:
        return decrypt(secret, token.encode())
    except InvalidToken as e:
        raise ValueError("expected what was sealed with the agreed secret") from e
