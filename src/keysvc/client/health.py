"""A server's health, asked from beside it without credentials: grpc.health.v1.

Whoever asks trusts what answers on an address of this machine, as a probe does: the certificate is not checked against
a CA, which the server's own machine need not have.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

import grpc
from cryptography import x509
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from keysvc.client.errors import failure_of


def health_of(address: str, seconds: float, *, encrypted: bool) -> str:
    """The status's name: SERVING, NOT_SERVING. `address` is HOST:PORT or unix:PATH.

    Raises CallFailed where gRPC does not answer, OSError where nothing does, both within about `seconds`.
    """
    options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0)]
    if encrypted:
        shown = _shown_certificate(address, seconds)
        options.append(("grpc.ssl_target_name_override", _a_name_of(shown)))
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(shown), options)
    else:
        channel = grpc.insecure_channel(address, options)
    with channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.RpcError as error:
            raise failure_of(error) from None
    return str(HealthCheckResponse.ServingStatus.Name(answer.status))


def _shown_certificate(address: str, seconds: float) -> bytes:
    """What the server shows, PEM: gRPC takes it as its own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with _connection(address, seconds) as connection, context.wrap_socket(connection) as session:
        shown = session.getpeercert(binary_form=True)
    return ssl.DER_cert_to_PEM_cert(shown or b"").encode()


def _connection(address: str, seconds: float) -> socket.socket:
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host.removeprefix("[").removesuffix("]"), int(port)), timeout=seconds)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    connection.connect(address.removeprefix("unix:"))
    return connection


def _a_name_of(pem: bytes) -> str:
    """One that the certificate holds. An address of this machine is seldom in it."""
    certificate = x509.load_pem_x509_certificate(pem)
    common = [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return next(iter(common), "localhost")
    dns, addresses = names.get_values_for_type(x509.DNSName), names.get_values_for_type(x509.IPAddress)
    return next((str(name).replace("*", "any") for name in (*dns, *addresses)), "localhost")
