"""The real grpcurl, without proto files: list, describe, call, health, and errors with their details readable."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.asking import ask, slot_of
from support.methods import PATHS, SERVICES
from support.outside import key_of, mac_of
from support.server import Client, DevServer

GRPCURL = Path(sys.executable).with_name("grpcurl")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def grpcurl(server: DevServer, client: Client) -> Run:
    """Runs grpcurl against the server with the administrator's credentials."""
    [(key, value)] = client.metadata

    def run(*arguments: str, data: Any = None, headers: bool = True) -> subprocess.CompletedProcess[str]:
        options = ["-plaintext", "-max-time", "20"]
        options += ["-H", f"{key}: {value}"] if headers else []
        options += ["-d", json.dumps(data)] if data is not None else []
        command = [str(GRPCURL), *options, server.address, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    return run


def lines_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


def test_list_shows_every_service(grpcurl: Run) -> None:
    assert [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "keysvc.v1.AuditService",
        "keysvc.v1.CredentialService",
        "keysvc.v1.HsmKeyService",
        "keysvc.v1.MerchantService",
        "keysvc.v1.PrincipalService",
        "keysvc.v1.TokenService",
    ] == lines_of(grpcurl("list"))


@pytest.mark.parametrize("service", [service.full_name for service in SERVICES])
def test_list_shows_every_method_of_a_service(grpcurl: Run, service: str) -> None:
    expected = [path.removeprefix("/").replace("/", ".") for path in PATHS if path.startswith(f"/{service}/")]
    assert sorted(expected) == lines_of(grpcurl("list", service))


@pytest.mark.parametrize(
    ("symbol", "lines"),
    [
        ("keysvc.v1.CredentialService", ["rpc VerifyHmac ( .keysvc.v1.VerifyHmacRequest )"]),
        ("keysvc.v1.VerifyHmacRequest", ["string name = 1;", "bytes message = 2;", "bytes mac = 3;"]),
        ("keysvc.v1.Credential.SecretFormat", ["WHSEC = 3;", "HEX_UPPER_32 = 5;"]),
        ("keysvc.v1.Merchant", [".keysvc.v1.Merchant.State state = 5;"]),
        ("keysvc.v1.RenewCredentialRequest", [".google.protobuf.Duration previous_ttl = 4;"]),
        ("google.rpc.ErrorInfo", ["string reason = 1;", "map<string, string> metadata = 3;"]),
        ("google.rpc.BadRequest", ["field_violations = 1;"]),
        ("google.rpc.RetryInfo", [".google.protobuf.Duration retry_delay = 1;"]),
        ("google.rpc.Status", ["repeated .google.protobuf.Any details = 3;"]),
    ],
)
def test_describe_knows_services_messages_and_error_details(grpcurl: Run, symbol: str, lines: list[str]) -> None:
    described = "\n".join(lines_of(grpcurl("describe", symbol)))
    assert f"{symbol} is a" in described
    assert [line for line in lines if line not in described] == []


def test_what_nobody_defined_is_not_described(grpcurl: Run) -> None:
    done = grpcurl("describe", "keysvc.v1.Nothing")
    assert 0 != done.returncode
    assert "not found" in done.stderr


def test_a_call_needs_no_proto_files(grpcurl: Run, client: Client, merchant: str) -> None:
    name = slot_of(merchant, "primary-hmac-key")
    fields = {"name": name, "hmac_algorithm": "HMAC_SHA512", "secret_format": "BASE64"}
    made = json.loads(grpcurl("keysvc.v1.CredentialService/CreateCredential", data=fields).stdout)
    assert (name, "ACTIVE", "HMAC_KEY") == tuple(made["credential"][key] for key in ("name", "state", "kind"))
    mac = mac_of(key_of(made["secret"]["value"], "BASE64"), b"order 1", "HMAC_SHA512")
    asked = {"name": merchant, "message": b64(b"order 1"), "mac": b64(mac)}
    told = json.loads(grpcurl("keysvc.v1.CredentialService/VerifyHmac", data=asked).stdout)
    assert {"result": "VALID", "matched_credential": name, "matched_version": 1} == told
    assert 1 == ask(client, "GetCredential", name=name).version


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def test_an_error_is_printed_with_its_details_decoded(grpcurl: Run) -> None:
    done = grpcurl("keysvc.v1.MerchantService/GetMerchant", data={"name": "no name"})
    assert 0 != done.returncode
    details = [json.loads(found) for found in re.findall(r"^ +\d\)\t(\{.*\})$", done.stderr, re.MULTILINE)]
    assert "Code: InvalidArgument" in done.stderr
    assert ["type.googleapis.com/google.rpc.ErrorInfo", "type.googleapis.com/google.rpc.BadRequest"] == [
        detail["@type"] for detail in details
    ]
    assert ("INVALID_FIELD", "keysvc", {"field": "name"}) == tuple(
        details[0][key] for key in ("reason", "domain", "metadata")
    )
    assert "name" == details[1]["field_violations"][0]["field"]


def test_without_credentials_reflection_is_refused_and_says_why(grpcurl: Run) -> None:
    done = grpcurl("list", headers=False)
    assert 0 != done.returncode
    assert "authorization: Basic" in done.stderr


@pytest.mark.parametrize("service", ["", "keysvc.v1.CredentialService"])
def test_health_is_checked_by_grpcurl(grpcurl: Run, service: str) -> None:
    done = grpcurl("grpc.health.v1.Health/Check", data={"service": service})
    assert {"status": "SERVING"} == json.loads(done.stdout)


@pytest.fixture
def reflection(client: Client) -> Callable[..., Any]:
    """One question to the reflection service itself, and its answer."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(client.channel)

    def asking(**fields: Any) -> Any:
        request = reflection_pb2.ServerReflectionRequest(**fields)
        [answer] = stub.ServerReflectionInfo(iter([request]), metadata=client.metadata, timeout=10)
        return answer

    return asking


@pytest.mark.parametrize("name", ["keysvc/v1/credential_service.proto", "google/rpc/error_details.proto"])
def test_a_file_is_given_with_what_it_imports(reflection: Callable[..., Any], name: str) -> None:
    files = [
        FileDescriptorProto.FromString(raw)
        for raw in reflection(file_by_filename=name).file_descriptor_response.file_descriptor_proto
    ]
    known = {file.name for file in files}
    for file in files:
        for imported in file.dependency:
            missing = [] if imported in known else [reflection(file_by_filename=imported).error_response.error_code]
            assert [] == [code for code in missing if code]


@pytest.mark.parametrize(
    "fields",
    [
        {"file_by_filename": "../../etc/passwd"},
        {"file_by_filename": "x" * 100_000},
        {"file_containing_symbol": ""},
        {"file_containing_symbol": "\0"},
        {"all_extension_numbers_of_type": "nothing"},
        {"file_containing_extension": {"containing_type": "keysvc.v1.Credential", "extension_number": -1}},
        {},
    ],
    ids=repr,
)
def test_a_strange_question_gets_an_error_in_the_answer(reflection: Callable[..., Any], fields: dict[str, Any]) -> None:
    assert reflection(**fields).HasField("error_response")
    assert reflection(list_services="").HasField("list_services_response")
