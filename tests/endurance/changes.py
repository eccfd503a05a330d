"""The changes that threads make of slots that others use, and what each made or ended."""

from __future__ import annotations

import uuid
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from endurance.history import CREATE, RENEW, REVOKE, REVOKE_ONE, SWAP, Changed
from endurance.keys import API_KEY_PAIR, HMAC_PAIR, Key, Place
from endurance.recorder import Board, Recorder
from endurance.spans import Span
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
        request = pb.RevokeCredentialRequest(name=credential, request_id=new_id())
        span, answer = self._call(REVOKE, request)
        if answer is not None:
            ended = Key(credential, answer.credential.version)
            self._recorder.events.append(Changed(span, REVOKE, ended, request_id=request.request_id))

    def revoke_one(self, credential: str, version: int) -> None:
        """Just this retiring key."""
        request = pb.RevokeCredentialRequest(name=credential, version=version, request_id=new_id())
        span, answer = self._recorder.call(
            REVOKE, request, name=credential, slot=Key(credential, 0).slot, recorded_as=REVOKE_ONE, version=version
        )
        if answer is not None:
            self._recorder.events.append(
                Changed(span, REVOKE_ONE, Key(credential, version), request_id=request.request_id)
            )

    def swap(self, merchant: str, pair: tuple[str, str]) -> None:
        request = rpb.SwapCredentialsRequest(name=merchant, kind=KINDS[pair], request_id=new_id())
        span, answer = self._recorder.call(SWAP, request, name=merchant, slot=pair[0])
        if answer is not None:
            credentials = [Key(slot.name, slot.version).place for slot in (answer.primary, answer.secondary)]
            self._recorder.events += [
                moved(span, credentials[0], credentials[1], request.request_id),
                moved(span, credentials[1], credentials[0], request.request_id),
            ]

    def _fill(self, method: str, request: Any) -> None:
        request.request_id = new_id()
        span, answer = self._call(method, request)
        if answer is not None:
            key = Key(request.name, answer.credential.version, answer.secret.value)
            self._board.add(key)
            ends = _previous_ends(request, answer.credential)
            self._recorder.events.append(Changed(span, method, key, ends, request_id=request.request_id))

    def _call(self, method: str, request: Any) -> tuple[Span, Any]:
        return self._recorder.call(method, request, name=request.name, slot=Key(request.name, 0).slot)


def moved(span: Span, into: Place, out_of: Place, request_id: str) -> Changed:
    """Both slots count a version on, so the key stood in the other one a version before."""
    return Changed(span, SWAP, Key(*into), source=(out_of[0], out_of[1] - 1), request_id=request_id)


def new_id() -> str:
    """A request_id, by which the audit record tells of the change."""
    return uuid.uuid4().hex


def _previous_ends(request: Any, credential: Credential) -> Span | None:
    """As the answer tells it, in nanoseconds since 1970."""
    if not (isinstance(request, pb.RenewCredentialRequest) and request.HasField("previous_ttl")):
        return None
    [expire_time] = [key.expire_time for key in credential.retiring if key.version == credential.version - 1]
    assert isinstance(expire_time, Timestamp)
    ends = expire_time.ToNanoseconds()
    return Span(ends, ends)
