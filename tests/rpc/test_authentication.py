"""Who is let in: Basic credentials of a principal on every rpc, nothing on health, and no hint about what was wrong."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import grpc
import pytest
from support import healthcheck
from support.asking import ask, request
from support.methods import PATHS, REFLECTION, SERVICES, Metadata, refused_raw
from support.server import Client, DevServer, Refusal, refusal

PASSWORD_SHAPE = "0123456789ABCDEF0123456789ABCDEF"


def basic(credentials: str | bytes, scheme: str = "Basic") -> str:
    raw = credentials.encode() if isinstance(credentials, str) else credentials
    return f"{scheme} {base64.b64encode(raw).decode()}"


@pytest.fixture(scope="module")
def password(server: DevServer) -> str:
    return (server.home / "admin-credentials").read_text().removeprefix("admin:")


@pytest.fixture(scope="module")
def wrong_headers(password: str) -> dict[str, Metadata]:
    """What gets nobody in. All but the first are one `authorization` header."""
    right = f"admin:{password}"
    values = {
        "empty": "",
        "a scheme alone": "Basic",
        "a scheme and a space": "Basic ",
        "no scheme": base64.b64encode(right.encode()).decode(),
        "credentials as they are": f"Basic {right}",
        "no base64": "Basic !!!",
        "base64 cut off": basic(right)[:-1],
        "base64url": "Basic _-_-",
        "another scheme": basic(right, "Bearer"),
        "a longer scheme": basic(right, "Basically"),
        "a token": "Bearer eyJhbGciOiJub25lIn0.e30.",
        "digest": f'Digest username="admin", response="{password}"',
        "no colon": basic("admin"),
        "no name": basic(f":{password}"),
        "no password": basic("admin:"),
        "a wrong password": basic(f"admin:{PASSWORD_SHAPE}"),
        "a password in lower case": basic(f"admin:{password.lower()}"),
        "half a password": basic(f"admin:{password[:16]}"),
        "a password and more": basic(f"admin:{password}0"),
        "a line feed": basic(f"admin:{password}\n"),
        "a space before": basic(f" admin:{password}"),
        "a name in capitals": basic(f"ADMIN:{password}"),
        "a resource name": basic(f"principals/admin:{password}"),
        "somebody unknown": basic(f"nobody:{password}"),
        "not UTF-8": basic(b"\xff\xfe:" + password.encode()),
        "a NUL": basic(f"admin\0:{password}"),
        "a letter beyond ASCII": basic(f"ädmin:{password}"),
        "a long name": basic(f"{'x' * 600}:{password}"),
        "a header over 1 KiB": basic(f"admin:{password * 30}"),
        "a header of 7 KiB": "Basic " + "A" * 7000,
        "the right header twice in one": f"{basic(right)}, {basic(right)}",
    }
    headers: dict[str, Metadata] = {"no header": (), "another header": (("x-authorization", basic(right)),)}
    return headers | {what: (("authorization", value),) for what, value in values.items()}


@pytest.mark.parametrize("path", [*PATHS, REFLECTION])
def test_nobody_is_let_in_without_right_credentials(
    client: Client, wrong_headers: dict[str, Metadata], path: str
) -> None:
    """The answer is the same whatever was wrong, and no request is looked at before."""
    answers: dict[str, tuple[object, ...]] = {}
    for what, metadata in wrong_headers.items():
        told = refused_raw(client, path, b"\xff", metadata)
        answers[what] = (told.code, told.reason, told.message, told.retry)
    [first] = set(answers.values())
    assert (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED") == first[:2]


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_the_scheme_is_matched_without_case(client: Client, password: str, scheme: str) -> None:
    metadata = (("authorization", basic(f"admin:{password}", scheme)),)
    client.call("ListMerchants", request("ListMerchants"), metadata=metadata)


def test_the_answer_never_repeats_what_was_sent(client: Client) -> None:
    metadata = (("authorization", basic(f"admin:{PASSWORD_SHAPE}")),)
    told: Refusal = refusal(lambda: client.call("ListMerchants", request("ListMerchants"), metadata=metadata))
    assert PASSWORD_SHAPE not in told.message + str(told.info)


def test_wrong_credentials_between_right_ones_change_nothing(client: Client, server: DevServer) -> None:
    with server.client(f"admin:{PASSWORD_SHAPE}") as stranger:
        for _ in range(20):
            assert grpc.StatusCode.UNAUTHENTICATED == refusal(lambda: ask(stranger, "ListMerchants")).code
            ask(client, "ListMerchants", page_size=1)


@pytest.fixture
def channel(server: DevServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as made:
        yield made


@pytest.mark.parametrize("service", ["", *(service.full_name for service in SERVICES)])
def test_health_answers_without_credentials(channel: grpc.Channel, service: str) -> None:
    assert healthcheck.SERVING == healthcheck.check(channel, service)
    watch = healthcheck.watch(channel, service)
    assert healthcheck.SERVING == next(watch).status
    watch.cancel()


def test_the_health_of_an_unknown_service_is_not_found(channel: grpc.Channel) -> None:
    told = refusal(lambda: healthcheck.check(channel, "keysvc.v1.Nothing"))
    assert grpc.StatusCode.NOT_FOUND == told.code
