"""The job that keysvc is for, in one breath."""

from __future__ import annotations

from support.server import Client

from keysvc.v1 import credential_service_pb2 as pb


def test_a_renewed_key_verifies_and_the_old_one_does_not(client: Client, merchant: str) -> None:
    name = f"{merchant}/credentials/primary-hmac-key"
    client.call("CreateCredential", pb.CreateCredentialRequest(name=name))
    old = client.call("GenerateHmac", pb.GenerateHmacRequest(name=merchant, message=b"order 1"))
    client.call("RenewCredential", pb.RenewCredentialRequest(name=name))
    new = client.call("GenerateHmac", pb.GenerateHmacRequest(name=merchant, message=b"order 1"))

    def verify(mac: bytes) -> str:
        answer = client.call("VerifyHmac", pb.VerifyHmacRequest(name=merchant, message=b"order 1", mac=mac))
        return str(pb.VerifyHmacResponse.Result.Name(answer.result))

    assert ["INVALID", "VALID"] == [verify(old.mac), verify(new.mac)]
