"""The changes that threads make of slots that others use, and what each made or ended."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from endurance.history import CREATE, RENEW, REVOKE, REVOKE_ONE, SWAP, Changed, Span
from endurance.keys import API_KEY_PAIR, HMAC_PAIR, Key
from endurance.recorder import Board, Recorder
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1 import rotation_pb2 as rpb
from keysvc.v1.credential_pb2 import Credential

KINDS = {HMAC_PAIR: Credential.HMAC_KEY, API_KEY_PAIR: Credential.BEARER_SECRET}


class Changes:
    """One thread's. Keys that it makes stand on the board for every thread."""

    def __init__(self, recorder: Recorder, board: Board) -> None:
        self._recorder = recorder
        self._board = board

    def create(self, credential: str) -> None:
        self._fill(CREATE, pb.CreateCredentialRequest(name=credential))

    def renew(self, credential: str) -> None:
        """Without an overlap."""
        self._fill(RENEW, pb.RenewCredentialRequest(name=credential))

    def renew_with_overlap(self, credential: str, seconds: float) -> None:
        ttl = Duration()
        ttl.FromNanoseconds(int(seconds * 1e9))
        self._fill(RENEW, pb.RenewCredentialRequest(name=credential, previous_ttl=ttl))

    def revoke(self, credential: str) -> None:
        """Every key of the slot."""
        span, answer = self._call(REVOKE, pb.RevokeCredentialRequest(name=credential))
        if answer is not None:
            self._recorder.events.append(Changed(span, REVOKE, Key(credential, answer.credential.version)))

    def revoke_one(self, credential: str, version: int) -> None:
        """Just this retiring key."""
        request = pb.RevokeCredentialRequest(name=credential, version=version)
        span, answer = self._recorder.call(
            REVOKE, request, name=credential, slot=Key(credential, 0).slot, recorded_as=REVOKE_ONE, version=version
        )
        if answer is not None:
            self._recorder.events.append(Changed(span, REVOKE_ONE, Key(credential, version)))

    def swap(self, merchant: str, pair: tuple[str, str]) -> None:
        request = rpb.SwapCredentialsRequest(name=merchant, kind=KINDS[pair])
        span, answer = self._recorder.call(SWAP, request, name=merchant, slot=pair[0])
        if answer is not None:
            self._recorder.events += [
                _moved(span, answer.primary, answer.secondary),
                _moved(span, answer.secondary, answer.primary),
            ]

    def _fill(self, method: str, request: Any) -> None:
        span, answer = self._call(method, request)
        if answer is not None:
            key = Key(request.name, answer.credential.version, answer.secret.value)
            self._board.add(key)
            self._recorder.events.append(Changed(span, method, key, _previous_ends(request, answer.credential)))

    def _call(self, method: str, request: Any) -> tuple[Span, Any]:
        return self._recorder.call(method, request, name=request.name, slot=Key(request.name, 0).slot)


def _moved(span: Span, into: Credential, out_of: Credential) -> Changed:
    """Both slots count a version on, so the key stood in the other one a version before."""
    return Changed(span, SWAP, Key(into.name, into.version), source=(out_of.name, out_of.version - 1))


def _previous_ends(request: Any, credential: Credential) -> int | None:
    """As the answer tells it, in nanoseconds since 1970."""
    if not (isinstance(request, pb.RenewCredentialRequest) and request.HasField("previous_ttl")):
        return None
    [expire_time] = [key.expire_time for key in credential.retiring if key.version == credential.version - 1]
    assert isinstance(expire_time, Timestamp)
    return expire_time.ToNanoseconds()
