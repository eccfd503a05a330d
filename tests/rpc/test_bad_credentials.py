"""Passwords that are almost right, and headers that are far from it: one and the same answer, and nothing more.

The many shapes of a wrong header, on every rpc, stand in test_authentication.py.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from support.asking import ask, request
from support.certificates import uri
from support.encrypted import make_encrypted, trusting
from support.methods import Metadata
from support.principals import Principals, create
from support.server import Client, DevServer, Refusal

MIB = 1024 * 1024
SPIFFE_ID = "spiffe://example.org/billing"
HEX = "0123456789ABCDEF"
SECRET = "0123456789ABCDEF0123456789ABCDEF"


def basic(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return f"Basic {base64.b64encode(raw).decode()}"


def told(client: Client, *headers: str | bytes, key: str = "authorization") -> Refusal | None:
    """How a call ends that carries these headers; None where it is answered."""
    metadata: Any = tuple((key, header) for header in headers)
    try:
        client.call("ListMerchants", request("ListMerchants", page_size=1), metadata=metadata)
    except grpc.RpcError as error:
        return Refusal(error)
    return None


@pytest.fixture(scope="module")
def known(client: Client, principals: Principals) -> tuple[str, str]:
    """(a principal's id, its password)"""
    principal_id = principals.id()
    return principal_id, create(client, principal_id, "PSP")


@pytest.fixture(scope="module")
def no_proof(client: Client) -> bytes:
    """The bytes of what a call is told that proves nothing."""
    refused = told(client, "x")
    assert refused is not None
    assert (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED") == (refused.code, refused.reason)
    assert ({}, [], None) == (dict(refused.info.metadata), refused.fields, refused.retry)
    return refused.raw


@pytest.fixture(autouse=True)
def goes_on_serving(client: Client, known: tuple[str, str]) -> Iterator[None]:
    yield
    assert told(client, basic(":".join(known))) is None
    ask(client, "ListMerchants", page_size=1)


def assert_no_proof(client: Client, no_proof: bytes, *headers: str | bytes) -> None:
    refused = told(client, *headers)
    assert refused is not None, headers
    assert no_proof == refused.raw


@pytest.mark.parametrize("place", range(32))
def test_a_password_with_one_character_changed_is_wrong(
    client: Client, known: tuple[str, str], no_proof: bytes, place: int
) -> None:
    """To any other digit, and to what a person may take it for."""
    principal_id, password = known
    for other in {*HEX, *HEX.lower(), "O", "l", " ", "\0", "é"} - {password[place]}:
        changed = password[:place] + other + password[place + 1 :]
        assert_no_proof(client, no_proof, basic(f"{principal_id}:{changed}"))


@pytest.mark.parametrize(
    "change",
    [
        str.lower, lambda text: " " + text, lambda text: text + " ", lambda text: text + "\n",
        lambda text: text + "\0", lambda text: text + ":", lambda text: ":" + text, lambda text: text[:-1],
        lambda text: text[1:], lambda text: text[::-1], lambda text: text * 2, lambda _: "", lambda _: " ",
        lambda text: "\ufeff" + text, lambda text: text[:16] + " " + text[16:], lambda text: f'"{text}"',
        lambda text: "".join(chr(ord(each) + 0xFEE0) for each in text), bytes.fromhex,
    ],
)  # fmt: skip
def test_a_password_in_another_form_is_wrong(
    client: Client, known: tuple[str, str], no_proof: bytes, change: Any
) -> None:
    principal_id, password = known
    changed = change(password)
    raw = changed if isinstance(changed, bytes) else changed.encode()
    assert_no_proof(client, no_proof, basic(principal_id.encode() + b":" + raw))


@pytest.mark.parametrize(
    "encoded",
    ["", "=", "====", "A", "AA", "AAA", "AAA=A", "!!!!", "_-_-", "AAAA AAAA", "Zm9vOmJhcg", "%41" * 4],
)
def test_basic_that_is_not_base64_is_no_proof(client: Client, no_proof: bytes, encoded: str) -> None:
    assert_no_proof(client, no_proof, f"Basic {encoded}")


def test_right_credentials_with_anything_in_their_base64_are_no_proof(
    client: Client, known: tuple[str, str], no_proof: bytes
) -> None:
    right = basic(":".join(known))
    for wrong in (right[:20] + " " + right[20:], right[:20] + "!" + right[20:], right[:-1], right + "=", right + "A"):
        assert_no_proof(client, no_proof, wrong)


@pytest.mark.parametrize("scheme", ["Digest", "Negotiate", "Token", "Basic,", "Basic:", "BasicBasic", "HOBA"])
def test_an_unknown_scheme_is_no_proof(client: Client, known: tuple[str, str], no_proof: bytes, scheme: str) -> None:
    encoded = basic(":".join(known)).removeprefix("Basic ")
    assert_no_proof(client, no_proof, f"{scheme} {encoded}")


@pytest.mark.parametrize("size", [8 * 1024, 9 * 1024, 64 * 1024, MIB])
def test_a_header_far_too_long_is_no_proof(client: Client, known: tuple[str, str], no_proof: bytes, size: int) -> None:
    for header in ("A" * size, "Basic " + "A" * size, basic(f"{known[0]}:{'A' * size}"), basic("x" * size + ":A")):
        assert_no_proof(client, no_proof, header)


def test_another_long_header_beside_a_right_one_does_no_harm(client: Client) -> None:
    metadata: Metadata = (*client.metadata, ("x-long", "A" * MIB))
    client.call("GetImportKey", request("GetImportKey"), metadata=metadata)


def test_a_header_in_the_metadata_for_bytes_is_no_proof(client: Client, known: tuple[str, str]) -> None:
    refused = told(client, basic(":".join(known)).encode(), key="authorization-bin")
    assert refused is not None
    assert grpc.StatusCode.UNAUTHENTICATED == refused.code


def test_two_headers_are_no_proof_whichever_of_them_is_right(
    client: Client, known: tuple[str, str], no_proof: bytes
) -> None:
    """Nobody can tell which was meant, and another program on the way may have looked at the other one."""
    right = basic(":".join(known))
    for wrong in (basic(f"{known[0]}:{SECRET}"), "Bearer x", "", right):
        assert_no_proof(client, no_proof, wrong, right)
        assert_no_proof(client, no_proof, right, wrong)


def test_an_unknown_principal_and_a_wrong_password_are_told_alike(
    client: Client, known: tuple[str, str], principals: Principals, no_proof: bytes
) -> None:
    """Byte for byte; a disabled one with its right password too."""
    disabled = principals.id()
    password = create(client, disabled, "PSP")
    ask(client, "DisablePrincipal", name=f"principals/{disabled}")
    for text in (f"{known[0]}:{SECRET}", f"nobody:{SECRET}", f"{disabled}:{password}", f"{disabled}:{SECRET}"):
        assert_no_proof(client, no_proof, basic(text))


def test_a_password_is_its_principals_own(client: Client, known: tuple[str, str], no_proof: bytes) -> None:
    assert_no_proof(client, no_proof, basic(f"admin:{known[1]}"))


def test_a_right_header_that_was_remembered_does_not_let_a_longer_one_in(
    client: Client, known: tuple[str, str], no_proof: bytes
) -> None:
    right = basic(":".join(known))
    for _ in range(3):
        assert told(client, right) is None
        assert_no_proof(client, no_proof, right + "A")
        assert_no_proof(client, no_proof, right[:-1])


def test_a_header_that_reads_as_a_certificates_name_is_no_proof(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Also while that certificate is at work, and what it proved is remembered."""
    encrypted = make_encrypted(tmp_path_factory.mktemp("apart"))
    with encrypted.serving() as running:
        with encrypted.admin(running) as admin:
            create(admin, "billing", "AUDITOR", spiffe_id=SPIFFE_ID)
        with (
            encrypted.certified(running, encrypted.clients.client(uri(SPIFFE_ID))) as billing,
            Client(running.address, None, trusting(encrypted.servers.pem)) as stranger,
        ):
            for _ in range(3):
                ask(billing, "ListPrincipals")
                refused = told(stranger, SPIFFE_ID)
                assert refused is not None
                assert (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED") == (refused.code, refused.reason)
        assert 0 == running.stop()


def test_what_was_sent_stands_in_no_log_line(
    server: DevServer, client: Client, known: tuple[str, str], no_proof: bytes
) -> None:
    planted = "F00DF00DF00DF00DF00DF00DF00DF00D"
    for text in (f"{known[0]}:{planted}", f"{planted}:x", planted):
        header = basic(text)
        assert_no_proof(client, no_proof, header)
        assert header.removeprefix("Basic ") not in server.log.read_text()
    assert planted not in server.log.read_text()
