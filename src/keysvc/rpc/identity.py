"""The SPIFFE id of a client's certificate, as gRPC's TLS verified it. Whose it is, the services know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from cryptography import x509

_REMEMBERED = 1024


def spiffe_ids(auth_context: Mapping[str, Sequence[bytes]]) -> tuple[bytes, ...]:
    """The one SPIFFE id, or none. `auth_context` is the call's.

    Only the property peer_spiffe_id identifies: gRPC sets it where the certificate has one URI, and that
    is a SPIFFE id; in the others a DNS name may look like one. gRPC cuts a URI off at a NUL, so it must
    also be the URI that the certificate holds.
    """
    found = tuple(auth_context.get("peer_spiffe_id", ()))
    if not found or found != _uris(auth_context["x509_pem_cert"][0]):
        return ()
    return found


@lru_cache(_REMEMBERED)  # each call of a connection asks the same
def _uris(pem: bytes) -> tuple[bytes, ...]:
    try:
        extensions = x509.load_pem_x509_certificate(pem).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ()
    return tuple(uri.encode() for uri in names.get_values_for_type(x509.UniformResourceIdentifier))
