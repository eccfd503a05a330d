"""What keysvc does, done again outside of it with `cryptography`: MACs, ciphertexts, sealed secrets.

Written from the contract alone: nothing of keysvc is imported here.
"""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "HMAC_SHA256": hashes.SHA256,
    "HMAC_SHA384": hashes.SHA384,
    "HMAC_SHA512": hashes.SHA512,
    "HMAC_SHA1": hashes.SHA1,
}
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


def text_of(key: bytes, secret_format: str) -> str:
    """`key` as a merchant would write it down. For TEXT it must be UTF-8."""
    if secret_format == "HEX":
        return key.hex()
    if secret_format == "HEX_UPPER_32":
        return key.hex().upper()
    if secret_format == "TEXT":
        return key.decode()
    prefix = "whsec_" if secret_format == "WHSEC" else ""
    return prefix + base64.b64encode(key).decode()


def key_of(text: str, secret_format: str) -> bytes:
    """The key's bytes in a shown secret."""
    if secret_format in ("HEX", "HEX_UPPER_32"):
        return bytes.fromhex(text)
    if secret_format == "TEXT":
        return text.encode()
    return base64.b64decode(text.removeprefix("whsec_") if secret_format == "WHSEC" else text, validate=True)


def mac_of(key: bytes, message: bytes, algorithm: str = "HMAC_SHA256") -> bytes:
    made = hmac.HMAC(key, _HASHES[algorithm]())
    made.update(message)
    return made.finalize()


def decrypt(key: bytes, name: str, ciphertext: bytes, additional_data: bytes) -> bytes:
    """Opens the envelope: format (1 byte), version (4), nonce (12), AES-256-GCM ciphertext and tag."""
    version = int.from_bytes(ciphertext[1:5], "big")
    bound = f"{name}@{version}\n".encode() + additional_data
    return AESGCM(key).decrypt(ciphertext[5:17], ciphertext[17:], bound)


def new_rsa(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def pem_of(key: rsa.RSAPrivateKey) -> str:
    """The public half, as PEM."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def unseal(key: rsa.RSAPrivateKey, sealed: bytes) -> bytes:
    """RSA-OAEP with SHA-1 (RFC 7518 section 4.3)."""
    return key.decrypt(sealed, _OAEP)


def seal(public_pem: str, key: bytes) -> bytes:
    public = serialization.load_pem_public_key(public_pem.encode())
    assert isinstance(public, rsa.RSAPublicKey)
    return public.encrypt(key, _OAEP)
