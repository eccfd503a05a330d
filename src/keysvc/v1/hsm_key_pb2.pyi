import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HsmKey(_message.Message):
    __slots__ = ("name", "purpose", "generation", "state", "rows", "requester", "request_time", "approver", "approve_time", "use_time", "destroy_time", "etag")
    class Purpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PURPOSE_UNSPECIFIED: _ClassVar[HsmKey.Purpose]
        WRAPPING: _ClassVar[HsmKey.Purpose]
        ROW: _ClassVar[HsmKey.Purpose]
        DIGEST: _ClassVar[HsmKey.Purpose]
        AUDIT: _ClassVar[HsmKey.Purpose]
    PURPOSE_UNSPECIFIED: HsmKey.Purpose
    WRAPPING: HsmKey.Purpose
    ROW: HsmKey.Purpose
    DIGEST: HsmKey.Purpose
    AUDIT: HsmKey.Purpose
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[HsmKey.State]
        REQUESTED: _ClassVar[HsmKey.State]
        APPROVED: _ClassVar[HsmKey.State]
        CURRENT: _ClassVar[HsmKey.State]
        RETIRING: _ClassVar[HsmKey.State]
        DESTROYED: _ClassVar[HsmKey.State]
    STATE_UNSPECIFIED: HsmKey.State
    REQUESTED: HsmKey.State
    APPROVED: HsmKey.State
    CURRENT: HsmKey.State
    RETIRING: HsmKey.State
    DESTROYED: HsmKey.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    REQUESTER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIME_FIELD_NUMBER: _ClassVar[int]
    APPROVER_FIELD_NUMBER: _ClassVar[int]
    APPROVE_TIME_FIELD_NUMBER: _ClassVar[int]
    USE_TIME_FIELD_NUMBER: _ClassVar[int]
    DESTROY_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    purpose: HsmKey.Purpose
    generation: int
    state: HsmKey.State
    rows: int
    requester: str
    request_time: _timestamp_pb2.Timestamp
    approver: str
    approve_time: _timestamp_pb2.Timestamp
    use_time: _timestamp_pb2.Timestamp
    destroy_time: _timestamp_pb2.Timestamp
    etag: str
    def __init__(self, name: _Optional[str] = ..., purpose: _Optional[_Union[HsmKey.Purpose, str]] = ..., generation: _Optional[int] = ..., state: _Optional[_Union[HsmKey.State, str]] = ..., rows: _Optional[int] = ..., requester: _Optional[str] = ..., request_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., approver: _Optional[str] = ..., approve_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., use_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., destroy_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...
