import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from keysvc.v1 import credential_pb2 as _credential_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Rotation(_message.Message):
    __slots__ = ("name", "kind", "stage", "keys", "steps", "etag", "time")
    class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STAGE_UNSPECIFIED: _ClassVar[Rotation.Stage]
        NO_KEY: _ClassVar[Rotation.Stage]
        SINGLE: _ClassVar[Rotation.Stage]
        MOVING: _ClassVar[Rotation.Stage]
        RETIRING: _ClassVar[Rotation.Stage]
    STAGE_UNSPECIFIED: Rotation.Stage
    NO_KEY: Rotation.Stage
    SINGLE: Rotation.Stage
    MOVING: Rotation.Stage
    RETIRING: Rotation.Stage
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[Rotation.Action]
        CREATE: _ClassVar[Rotation.Action]
        SWAP: _ClassVar[Rotation.Action]
        REVOKE: _ClassVar[Rotation.Action]
    ACTION_UNSPECIFIED: Rotation.Action
    CREATE: Rotation.Action
    SWAP: Rotation.Action
    REVOKE: Rotation.Action
    class Step(_message.Message):
        __slots__ = ("action", "slot_name", "version", "safe", "reason")
        ACTION_FIELD_NUMBER: _ClassVar[int]
        SLOT_NAME_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        SAFE_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        action: Rotation.Action
        slot_name: str
        version: int
        safe: bool
        reason: str
        def __init__(self, action: _Optional[_Union[Rotation.Action, str]] = ..., slot_name: _Optional[str] = ..., version: _Optional[int] = ..., safe: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: _credential_pb2.Credential.Kind
    stage: Rotation.Stage
    keys: _containers.RepeatedCompositeFieldContainer[KeyTraffic]
    steps: _containers.RepeatedCompositeFieldContainer[Rotation.Step]
    etag: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[_credential_pb2.Credential.Kind, str]] = ..., stage: _Optional[_Union[Rotation.Stage, str]] = ..., keys: _Optional[_Iterable[_Union[KeyTraffic, _Mapping]]] = ..., steps: _Optional[_Iterable[_Union[Rotation.Step, _Mapping]]] = ..., etag: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class KeyTraffic(_message.Message):
    __slots__ = ("credential", "version", "create_time", "expire_time", "signs", "old", "can_be_revoked", "calls", "callers")
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    SIGNS_FIELD_NUMBER: _ClassVar[int]
    OLD_FIELD_NUMBER: _ClassVar[int]
    CAN_BE_REVOKED_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    CALLERS_FIELD_NUMBER: _ClassVar[int]
    credential: str
    version: int
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    signs: bool
    old: bool
    can_be_revoked: bool
    calls: Calls
    callers: _containers.RepeatedCompositeFieldContainer[CallerTraffic]
    def __init__(self, credential: _Optional[str] = ..., version: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., signs: _Optional[bool] = ..., old: _Optional[bool] = ..., can_be_revoked: _Optional[bool] = ..., calls: _Optional[_Union[Calls, _Mapping]] = ..., callers: _Optional[_Iterable[_Union[CallerTraffic, _Mapping]]] = ...) -> None: ...

class Calls(_message.Message):
    __slots__ = ("last_hour", "last_day", "total", "last_used_time")
    LAST_HOUR_FIELD_NUMBER: _ClassVar[int]
    LAST_DAY_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_TIME_FIELD_NUMBER: _ClassVar[int]
    last_hour: int
    last_day: int
    total: int
    last_used_time: _timestamp_pb2.Timestamp
    def __init__(self, last_hour: _Optional[int] = ..., last_day: _Optional[int] = ..., total: _Optional[int] = ..., last_used_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CallerTraffic(_message.Message):
    __slots__ = ("principal", "calls")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    principal: str
    calls: Calls
    def __init__(self, principal: _Optional[str] = ..., calls: _Optional[_Union[Calls, _Mapping]] = ...) -> None: ...

class GetRotationRequest(_message.Message):
    __slots__ = ("name", "kind", "unused_for")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    UNUSED_FOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: _credential_pb2.Credential.Kind
    unused_for: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[_credential_pb2.Credential.Kind, str]] = ..., unused_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SwapCredentialsRequest(_message.Message):
    __slots__ = ("name", "kind", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: _credential_pb2.Credential.Kind
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[_credential_pb2.Credential.Kind, str]] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class SwapCredentialsResponse(_message.Message):
    __slots__ = ("primary", "secondary")
    PRIMARY_FIELD_NUMBER: _ClassVar[int]
    SECONDARY_FIELD_NUMBER: _ClassVar[int]
    primary: _credential_pb2.Credential
    secondary: _credential_pb2.Credential
    def __init__(self, primary: _Optional[_Union[_credential_pb2.Credential, _Mapping]] = ..., secondary: _Optional[_Union[_credential_pb2.Credential, _Mapping]] = ...) -> None: ...

class ScheduleRotationRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id", "rotate_before")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ROTATE_BEFORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    rotate_before: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., rotate_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SummarizeCredentialsRequest(_message.Message):
    __slots__ = ("parent", "due_within", "used_within")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DUE_WITHIN_FIELD_NUMBER: _ClassVar[int]
    USED_WITHIN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    due_within: _duration_pb2.Duration
    used_within: _duration_pb2.Duration
    def __init__(self, parent: _Optional[str] = ..., due_within: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., used_within: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SummarizeCredentialsResponse(_message.Message):
    __slots__ = ("merchants", "slots")
    class SlotSummary(_message.Message):
        __slots__ = ("slot", "active", "inactive", "empty", "overdue", "due", "retiring_keys", "retiring_keys_used")
        SLOT_FIELD_NUMBER: _ClassVar[int]
        ACTIVE_FIELD_NUMBER: _ClassVar[int]
        INACTIVE_FIELD_NUMBER: _ClassVar[int]
        EMPTY_FIELD_NUMBER: _ClassVar[int]
        OVERDUE_FIELD_NUMBER: _ClassVar[int]
        DUE_FIELD_NUMBER: _ClassVar[int]
        RETIRING_KEYS_FIELD_NUMBER: _ClassVar[int]
        RETIRING_KEYS_USED_FIELD_NUMBER: _ClassVar[int]
        slot: str
        active: int
        inactive: int
        empty: int
        overdue: int
        due: int
        retiring_keys: int
        retiring_keys_used: int
        def __init__(self, slot: _Optional[str] = ..., active: _Optional[int] = ..., inactive: _Optional[int] = ..., empty: _Optional[int] = ..., overdue: _Optional[int] = ..., due: _Optional[int] = ..., retiring_keys: _Optional[int] = ..., retiring_keys_used: _Optional[int] = ...) -> None: ...
    MERCHANTS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    merchants: int
    slots: _containers.RepeatedCompositeFieldContainer[SummarizeCredentialsResponse.SlotSummary]
    def __init__(self, merchants: _Optional[int] = ..., slots: _Optional[_Iterable[_Union[SummarizeCredentialsResponse.SlotSummary, _Mapping]]] = ...) -> None: ...
