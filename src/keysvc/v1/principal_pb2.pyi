import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Principal(_message.Message):
    __slots__ = ("name", "kind", "merchants", "can_edit_credentials", "remote_access", "can_sign", "spiffe_id", "jwt_public_keys", "state", "create_time", "update_time", "password_time", "retiring_password_times", "etag")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Principal.Kind]
        ADMIN: _ClassVar[Principal.Kind]
        PSP: _ClassVar[Principal.Kind]
        ACQUIRER: _ClassVar[Principal.Kind]
        MERCHANT: _ClassVar[Principal.Kind]
        SERVICE: _ClassVar[Principal.Kind]
        AUDITOR: _ClassVar[Principal.Kind]
    KIND_UNSPECIFIED: Principal.Kind
    ADMIN: Principal.Kind
    PSP: Principal.Kind
    ACQUIRER: Principal.Kind
    MERCHANT: Principal.Kind
    SERVICE: Principal.Kind
    AUDITOR: Principal.Kind
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Principal.State]
        ACTIVE: _ClassVar[Principal.State]
        DISABLED: _ClassVar[Principal.State]
    STATE_UNSPECIFIED: Principal.State
    ACTIVE: Principal.State
    DISABLED: Principal.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MERCHANTS_FIELD_NUMBER: _ClassVar[int]
    CAN_EDIT_CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    REMOTE_ACCESS_FIELD_NUMBER: _ClassVar[int]
    CAN_SIGN_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    JWT_PUBLIC_KEYS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_TIME_FIELD_NUMBER: _ClassVar[int]
    RETIRING_PASSWORD_TIMES_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: Principal.Kind
    merchants: _containers.RepeatedScalarFieldContainer[str]
    can_edit_credentials: bool
    remote_access: bool
    can_sign: bool
    spiffe_id: str
    jwt_public_keys: _containers.RepeatedScalarFieldContainer[str]
    state: Principal.State
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    password_time: _timestamp_pb2.Timestamp
    retiring_password_times: _containers.RepeatedCompositeFieldContainer[_timestamp_pb2.Timestamp]
    etag: str
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[Principal.Kind, str]] = ..., merchants: _Optional[_Iterable[str]] = ..., can_edit_credentials: _Optional[bool] = ..., remote_access: _Optional[bool] = ..., can_sign: _Optional[bool] = ..., spiffe_id: _Optional[str] = ..., jwt_public_keys: _Optional[_Iterable[str]] = ..., state: _Optional[_Union[Principal.State, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., password_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retiring_password_times: _Optional[_Iterable[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]]] = ..., etag: _Optional[str] = ...) -> None: ...
