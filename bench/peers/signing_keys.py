"""Signing keys of the corpus: the same seed gives the same keys."""

import base64
import random
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from dmarcmilter.value import Value

EXPONENT = 65_537
SIEVE = 20_000
"""Numbers above a random start among which a prime is searched; there are about 28 primes of 1024 bits."""
SMALL_PRIMES = [number for number in range(3, 5000, 2) if all(number % part for part in range(3, int(number**0.5) + 1))]


class SigningKey(Value):
    selector: str
    private: bytes
    """As dkimpy takes it: PEM for RSA, base64 for Ed25519."""
    record: str
    """The key record, RFC 6376 3.6.1."""

    @property
    def algorithm(self) -> bytes:
        return b"ed25519-sha256" if "k=ed25519" in self.record else b"rsa-sha256"


def rsa_keys(seed: str, bits: int, selector: str) -> Iterator[SigningKey]:
    """Different keys without end. They share primes, because making one takes 0.2 s: good for a benchmark only."""
    chance = random.Random(f"{seed} rsa {bits}")  # noqa: S311  no secret
    primes = [_prime(chance, bits // 2)]
    while True:
        primes.append(_prime(chance, bits // 2))
        for other in primes[:-1]:
            yield _rsa_key(other, primes[-1], selector)


def ed25519_key(seed: str, owner: str, selector: str) -> SigningKey:
    secret = random.Random(f"{seed} ed25519 {owner}").randbytes(32)  # noqa: S311  no secret
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    record = f"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"
    return SigningKey(selector, base64.b64encode(secret), record)


def _rsa_key(p: int, q: int, selector: str) -> SigningKey:
    d = pow(EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(EXPONENT, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
    private = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return SigningKey(selector, pem, f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}")


def _prime(chance: random.Random, bits: int) -> int:
    """A prime by Fermat's test to three bases, with its two highest bits set, so that a product has twice the bits."""
    while True:
        start = chance.getrandbits(bits) | 3 << (bits - 2) | 1
        composite = bytearray(SIEVE)
        for small in SMALL_PRIMES:
            # The first offset that makes start + 2 * offset divisible.
            first = -start * pow(2, -1, small) % small
            composite[first::small] = b"\1" * len(range(first, SIEVE, small))
        for offset in range(SIEVE):
            number = start + 2 * offset
            if composite[offset] or (number - 1) % EXPONENT == 0:
                continue
            if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5)):
                return number
