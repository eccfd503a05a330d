"""JWTs that principals sign themselves: each is good once, and whatever is wrong with one is told alike."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.asking import ask
from support.jwts import PrivateKey, by_hmac, call, claims_of, part, public_pem, signed, unsigned
from support.outside import new_rsa
from support.principals import Principals, create, update
from support.server import Client, DevServer, Refusal

THREADS = 8
MIB = 1024 * 1024
MAKERS: dict[str, Callable[[], PrivateKey]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "RS256": new_rsa,
}
Token = Callable[..., str]


@pytest.fixture(scope="module")
def keys() -> dict[str, PrivateKey]:
    """One of each algorithm, all registered for the one principal."""
    return {algorithm: make() for algorithm, make in MAKERS.items()}


@pytest.fixture(scope="module")
def signer(principals: Principals, keys: dict[str, PrivateKey]) -> str:
    """The principal's id."""
    principal_id, _ = principals.make("PSP", jwt_public_keys=[public_pem(key) for key in keys.values()])
    return principal_id


@pytest.fixture(scope="module")
def key(keys: dict[str, PrivateKey]) -> PrivateKey:
    return keys["ES256"]


@pytest.fixture(scope="module")
def plain_refusal(client: Client) -> Refusal:
    """What a call is told that has no proof at all."""
    told = call(client, "", scheme="x")
    assert told is not None
    assert (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED") == (told.code, told.reason)
    return told


@pytest.fixture(autouse=True)
def goes_on_serving(client: Client, key: PrivateKey, signer: str) -> Iterator[None]:
    yield
    assert call(client, signed(key, signer)) is None
    ask(client, "ListMerchants", page_size=1)


@pytest.mark.parametrize("algorithm", MAKERS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_jwt_of_each_algorithm_proves_who_calls(
    client: Client, keys: dict[str, PrivateKey], signer: str, algorithm: str, scheme: str
) -> None:
    token = signed(keys[algorithm], signer)
    assert algorithm == jwt.get_unverified_header(token)["alg"]
    assert call(client, token, scheme=scheme) is None


def test_the_rights_are_the_principals(client: Client, key: PrivateKey, signer: str) -> None:
    """Claims about rights count for nothing."""
    told = call(client, signed(key, signer, kind="ADMIN", scope="admin"), "ListPrincipals")
    assert told is not None
    assert (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED") == (told.code, told.reason)


@pytest.mark.parametrize(
    ("begin", "end"), [(0, 600), (0, 5), (-590, 10), (25, 600)], ids=["longest", "shortest", "old", "fast clock"]
)
def test_a_jwt_counts_between_its_times(client: Client, key: PrivateKey, signer: str, begin: int, end: int) -> None:
    now = int(time.time())
    assert call(client, signed(key, signer, iat=now + begin, exp=now + end)) is None


def test_times_may_have_fractions(client: Client, key: PrivateKey, signer: str) -> None:
    now = time.time()
    assert call(client, signed(key, signer, iat=now - 0.5, exp=now + 599.25)) is None


def test_a_jwt_is_good_once(client: Client, key: PrivateKey, signer: str, plain_refusal: Refusal) -> None:
    token = signed(key, signer)
    assert call(client, token) is None
    for _ in range(3):
        assert_refused(call(client, token), plain_refusal)


def test_a_jti_is_good_once_whatever_bears_it(
    client: Client, keys: dict[str, PrivateKey], signer: str, plain_refusal: Refusal
) -> None:
    jti = uuid.uuid4().hex
    assert call(client, signed(keys["ES256"], signer, jti=jti)) is None
    assert_refused(call(client, signed(keys["EdDSA"], signer, jti=jti, exp=int(time.time()) + 60)), plain_refusal)


def test_a_jti_is_its_principals_own(client: Client, principals: Principals, key: PrivateKey, signer: str) -> None:
    """So that nobody can use up another's."""
    other, jti = MAKERS["EdDSA"](), uuid.uuid4().hex
    other_id, _ = principals.make("PSP", jwt_public_keys=[public_pem(other)])
    assert call(client, signed(other, other_id, jti=jti)) is None
    assert call(client, signed(key, signer, jti=jti)) is None


def test_a_jwt_that_was_refused_does_not_use_up_its_jti(
    client: Client, key: PrivateKey, signer: str, plain_refusal: Refusal
) -> None:
    jti = uuid.uuid4().hex
    assert_refused(call(client, signed(MAKERS["ES256"](), signer, jti=jti)), plain_refusal)
    assert_refused(call(client, signed(key, signer, jti=jti, aud="another")), plain_refusal)
    assert call(client, signed(key, signer, jti=jti)) is None


def test_of_many_calls_at_once_with_one_jwt_one_is_let_in(
    client: Client, key: PrivateKey, signer: str, plain_refusal: Refusal
) -> None:
    for _ in range(5):
        token = signed(key, signer)
        with ThreadPoolExecutor(THREADS) as threads:
            told = list(threads.map(lambda _: call(client, token), range(THREADS)))  # noqa: B023
        assert 1 == told.count(None)
        assert {plain_refusal.raw} == {each.raw for each in told if each is not None}


def test_a_used_jwt_is_remembered_over_a_restart(tmp_path_factory: pytest.TempPathFactory, key: PrivateKey) -> None:
    server = DevServer(tmp_path_factory.mktemp("jwt") / "home").start()
    try:
        with server.client() as admin:
            create(admin, "signer", "PSP", jwt_public_keys=[public_pem(key)])
            used, unused = signed(key, "signer"), signed(key, "signer")
            assert call(admin, used) is None
        server.stop()
        server.start()
        with server.client() as admin:
            told = call(admin, used)
            assert told is not None
            assert grpc.StatusCode.UNAUTHENTICATED == told.code
            assert call(admin, unused) is None
        assert 0 == server.stop()
    finally:
        server.kill()


def assert_refused(told: Refusal | None, plain: Refusal) -> None:
    assert told is not None, "the JWT was taken"
    assert plain.raw == told.raw


def now() -> int:
    return int(time.time())


NO_CLAIMS: dict[str, Callable[[], dict[str, Any]]] = {
    "expired": lambda: {"iat": now() - 100, "exp": now() - 1},
    "expired long ago": lambda: {"iat": 0, "exp": 300},
    "issued beyond the skew": lambda: {"iat": now() + 40, "exp": now() + 300},
    "not before a later time": lambda: {"nbf": now() + 120},
    "longer than 10 minutes": lambda: {"iat": now(), "exp": now() + 601},
    "longer than 10 minutes by a little": lambda: {"iat": now(), "exp": now() + 600.001},
    "for ever": lambda: {"exp": 10**12},
    "beyond time": lambda: {"exp": 10**30},
    "ended before it began": lambda: {"iat": now() + 10, "exp": now() + 5},
    "ended as it began": lambda: {"iat": now() + 10, "exp": now() + 10},
    "without jti": lambda: {"jti": None},
    "without exp": lambda: {"exp": None},
    "without iat": lambda: {"iat": None},
    "without sub": lambda: {"sub": None},
    "without aud": lambda: {"aud": None},
    "an empty jti": lambda: {"jti": ""},
    "a jti that is a number": lambda: {"jti": 7},
    "a jti that is a list": lambda: {"jti": ["a"]},
    "a long jti": lambda: {"jti": "j" * 257},
    "an exp that is a text": lambda: {"exp": str(now() + 60)},
    "an exp that is a list": lambda: {"exp": [now() + 60]},
    "an iat that is a text": lambda: {"iat": "now"},
    "an exp that is no number": lambda: {"exp": float("nan")},
    "an exp without end": lambda: {"exp": float("inf")},
    "another audience": lambda: {"aud": "another"},
    "an audience in capitals": lambda: {"aud": "KEYSVC"},
    "an empty audience": lambda: {"aud": ""},
    "no audience in a list": lambda: {"aud": []},
    "a list of audiences": lambda: {"aud": ["keysvc"]},
    "a list with another audience": lambda: {"aud": ["keysvc", "another"]},
    "an audience that is a number": lambda: {"aud": 1},
    "the sub of an administrator": lambda: {"sub": "admin"},
    "the sub of nobody": lambda: {"sub": "nobody"},
    "a sub that is a resource name": lambda: {"sub": "principals/admin"},
    "a sub that is a number": lambda: {"sub": 7},
    "an empty sub": lambda: {"sub": ""},
}


@pytest.mark.parametrize("what", NO_CLAIMS)
def test_claims_that_are_wrong_are_refused(
    client: Client, keys: dict[str, PrivateKey], signer: str, plain_refusal: Refusal, what: str
) -> None:
    """Made by hand, since the library would refuse to sign some; each alone is what is wrong."""
    for key in keys.values():
        token = jwt.api_jws.encode(
            json.dumps(claims_of(signer, **NO_CLAIMS[what]())).encode(), key, algorithm=ALGORITHMS[type(key).__name__]
        )
        assert_refused(call(client, token), plain_refusal)


ALGORITHMS = {"ECPrivateKey": "ES256", "Ed25519PrivateKey": "EdDSA", "RSAPrivateKey": "RS256"}


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "none ", "", None, 0, [], ["none"], "HS256"])
@pytest.mark.parametrize("signature", [b"", b"\0", bytes(64)])
def test_no_signature_is_no_proof(
    client: Client, signer: str, plain_refusal: Refusal, algorithm: Any, signature: bytes
) -> None:
    token = unsigned(claims_of(signer), {"alg": algorithm, "typ": "JWT"}, signature)
    assert_refused(call(client, token), plain_refusal)
    assert_refused(call(client, unsigned(claims_of(signer), {"typ": "JWT"}, signature)), plain_refusal)


@pytest.mark.parametrize("said", ["HS256", "HS512", "ES256", "EdDSA", "RS256", "none"])
def test_a_public_key_is_no_secret_to_sign_with(
    client: Client, keys: dict[str, PrivateKey], signer: str, plain_refusal: Refusal, said: str
) -> None:
    for key in keys.values():
        public = key.public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pem = public_pem(key).encode()
        for secret in (pem, pem.strip(), der):
            token = by_hmac(secret, claims_of(signer), {"alg": said, "typ": "JWT"})
            assert_refused(call(client, token), plain_refusal)


@pytest.mark.parametrize("algorithm", MAKERS)
def test_another_key_is_no_proof(client: Client, signer: str, plain_refusal: Refusal, algorithm: str) -> None:
    """Also not where the JWT brings it along."""
    key = MAKERS[algorithm]()
    assert_refused(call(client, signed(key, signer)), plain_refusal)
    jwk = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key()))
    for header in ({"jwk": jwk}, {"kid": public_pem(key)}, {"jku": "http://127.0.0.1:1/"}, {"x5u": "file:///dev/zero"}):
        token = jwt.encode(claims_of(signer), key, algorithm=algorithm, headers=header)
        assert_refused(call(client, token), plain_refusal)


@pytest.mark.parametrize(("algorithm", "said"), [("RS256", "RS384"), ("RS256", "RS512"), ("RS256", "PS256")])
def test_another_algorithm_of_the_same_key_is_no_proof(
    client: Client, keys: dict[str, PrivateKey], signer: str, plain_refusal: Refusal, algorithm: str, said: str
) -> None:
    token = jwt.encode(claims_of(signer), keys[algorithm], algorithm=said)
    assert_refused(call(client, token), plain_refusal)


@pytest.mark.parametrize("said", ["EdDSA", "RS256", "ES384", "ES512", "es256", "HS256"])
def test_the_algorithm_is_the_keys_whatever_the_header_says(
    client: Client, key: PrivateKey, signer: str, plain_refusal: Refusal, said: str
) -> None:
    head, body, signature = signed(key, signer).split(".")
    assert_refused(call(client, f"{part({'alg': said, 'typ': 'JWT'})}.{body}.{signature}"), plain_refusal)
    assert head != part({"alg": said, "typ": "JWT"})


def test_an_extension_that_must_be_understood_is_not(
    client: Client, key: PrivateKey, signer: str, plain_refusal: Refusal
) -> None:
    """RFC 7515 section 4.1.11."""
    token = jwt.encode(claims_of(signer), key, algorithm="ES256", headers={"crit": ["exp"], "exp": 1})
    assert_refused(call(client, token), plain_refusal)


def test_one_bit_changed_is_no_proof(client: Client, key: PrivateKey, signer: str, plain_refusal: Refusal) -> None:
    token = signed(key, signer)
    head, body, signature = token.split(".")
    wrong = [
        f"{head}.{body}.{signature[:-4]}{'A' if signature[-4] != 'A' else 'B'}{signature[-3:]}",
        f"{head}.{part({**claims_of(signer), 'iat': now() - 1})}.{signature}",
        f"{head}.{body}.{signature}.",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{body}.{head}.{signature}",
        f".{body}.{signature}",
        f"{head}..{signature}",
        f"{head}.{body}.{signature[: len(signature) // 2]}",
        f"{head} .{body}.{signature}",
        f"{token}, {token}",
        f'"{token}"',
    ]
    for each in wrong:
        assert_refused(call(client, each), plain_refusal)
    assert call(client, token) is None


GARBAGE = {
    "nothing": "",
    "a dot": ".",
    "two dots": "..",
    "many dots": "." * 4000,
    "no base64": "!!!.!!!.!!!",
    "no JSON": ".".join(part(b"\xff\xfe") for _ in range(3)),
    "a list": ".".join(part([]) for _ in range(3)),
    "deep JSON": f"{part(b'[' * 3000)}.{part(b'{}')}.AAAA",
    "deep claims": f"{part({'alg': 'ES256'})}.{part(b'[' * 3000)}.AAAA",
    "a big number": f"{part({'alg': 'ES256'})}.{part(b'9' * 5000)}.AAAA",
    "an encrypted JWT": ".".join([part({"alg": "dir", "enc": "A256GCM"}), "", "AAAA", "AAAA", "AAAA"]),
    "beyond the length of a header": "A" * 9000,
    "1 MB": "A" * 1_000_000,
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_refused(client: Client, plain_refusal: Refusal, what: str) -> None:
    assert_refused(call(client, GARBAGE[what]), plain_refusal)


def test_a_right_jwt_that_is_too_long_is_refused(
    client: Client, key: PrivateKey, signer: str, plain_refusal: Refusal
) -> None:
    assert_refused(call(client, signed(key, signer, padding="x" * 10_000)), plain_refusal)
    assert_refused(call(client, signed(key, signer, padding="x" * MIB)), plain_refusal)


def test_a_header_beyond_what_grpc_takes_ends_the_call_and_not_the_server(client: Client) -> None:
    """3 MB: gRPC itself answers, before the service could."""
    told = call(client, "A" * 3 * MIB)
    assert told is not None
    assert told.code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
    assert b"" == told.raw


def test_a_key_counts_until_it_is_removed(client: Client, principals: Principals, plain_refusal: Refusal) -> None:
    old, new = MAKERS["ES256"](), MAKERS["EdDSA"]()
    principal_id, caller = principals.make("PSP", jwt_public_keys=[public_pem(old)])
    early = signed(old, principal_id)
    assert call(client, signed(old, principal_id)) is None
    update(client, principal_id, jwt_public_keys=[public_pem(old), public_pem(new)])
    assert [None, None] == [call(client, signed(key, principal_id)) for key in (old, new)]
    update(client, principal_id, jwt_public_keys=[public_pem(new)])
    for token in (early, signed(old, principal_id)):
        assert_refused(call(client, token), plain_refusal)
    assert call(client, signed(new, principal_id)) is None
    update(client, principal_id, jwt_public_keys=[])
    assert_refused(call(client, signed(new, principal_id)), plain_refusal)
    ask(caller, "GetImportKey")


def test_a_principal_that_is_disabled_is_refused(
    client: Client, principals: Principals, plain_refusal: Refusal
) -> None:
    key = MAKERS["ES256"]()
    principal_id, _ = principals.make("PSP", jwt_public_keys=[public_pem(key)])
    ask(client, "DisablePrincipal", name=f"principals/{principal_id}")
    assert_refused(call(client, signed(key, principal_id)), plain_refusal)
    update(client, principal_id, state="ACTIVE")
    assert call(client, signed(key, principal_id)) is None


def test_keys_of_one_principal_prove_no_other(
    client: Client, principals: Principals, key: PrivateKey, plain_refusal: Refusal
) -> None:
    """Not even where both have keys."""
    own = MAKERS["ES256"]()
    principal_id, _ = principals.make("ADMIN", jwt_public_keys=[public_pem(own)])
    assert_refused(call(client, signed(key, principal_id)), plain_refusal)
    assert call(client, signed(own, principal_id)) is None
