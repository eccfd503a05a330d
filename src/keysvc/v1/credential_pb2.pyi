import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Credential(_message.Message):
    __slots__ = ("name", "state", "kind", "version", "hmac_algorithm", "secret_format", "fingerprint", "create_time", "renew_time", "revoke_time", "last_used_time", "retiring", "etag", "weak_key", "rotate_before")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Credential.State]
        EMPTY: _ClassVar[Credential.State]
        ACTIVE: _ClassVar[Credential.State]
        INACTIVE: _ClassVar[Credential.State]
    STATE_UNSPECIFIED: Credential.State
    EMPTY: Credential.State
    ACTIVE: Credential.State
    INACTIVE: Credential.State
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Credential.Kind]
        HMAC_KEY: _ClassVar[Credential.Kind]
        BEARER_SECRET: _ClassVar[Credential.Kind]
        ENCRYPTION_KEY: _ClassVar[Credential.Kind]
    KIND_UNSPECIFIED: Credential.Kind
    HMAC_KEY: Credential.Kind
    BEARER_SECRET: Credential.Kind
    ENCRYPTION_KEY: Credential.Kind
    class HmacAlgorithm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        HMAC_ALGORITHM_UNSPECIFIED: _ClassVar[Credential.HmacAlgorithm]
        HMAC_SHA256: _ClassVar[Credential.HmacAlgorithm]
        HMAC_SHA384: _ClassVar[Credential.HmacAlgorithm]
        HMAC_SHA512: _ClassVar[Credential.HmacAlgorithm]
        HMAC_SHA1: _ClassVar[Credential.HmacAlgorithm]
    HMAC_ALGORITHM_UNSPECIFIED: Credential.HmacAlgorithm
    HMAC_SHA256: Credential.HmacAlgorithm
    HMAC_SHA384: Credential.HmacAlgorithm
    HMAC_SHA512: Credential.HmacAlgorithm
    HMAC_SHA1: Credential.HmacAlgorithm
    class SecretFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SECRET_FORMAT_UNSPECIFIED: _ClassVar[Credential.SecretFormat]
        HEX: _ClassVar[Credential.SecretFormat]
        BASE64: _ClassVar[Credential.SecretFormat]
        WHSEC: _ClassVar[Credential.SecretFormat]
        TEXT: _ClassVar[Credential.SecretFormat]
        HEX_UPPER_32: _ClassVar[Credential.SecretFormat]
    SECRET_FORMAT_UNSPECIFIED: Credential.SecretFormat
    HEX: Credential.SecretFormat
    BASE64: Credential.SecretFormat
    WHSEC: Credential.SecretFormat
    TEXT: Credential.SecretFormat
    HEX_UPPER_32: Credential.SecretFormat
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HMAC_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    SECRET_FORMAT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RENEW_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_TIME_FIELD_NUMBER: _ClassVar[int]
    RETIRING_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    WEAK_KEY_FIELD_NUMBER: _ClassVar[int]
    ROTATE_BEFORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: Credential.State
    kind: Credential.Kind
    version: int
    hmac_algorithm: Credential.HmacAlgorithm
    secret_format: Credential.SecretFormat
    fingerprint: str
    create_time: _timestamp_pb2.Timestamp
    renew_time: _timestamp_pb2.Timestamp
    revoke_time: _timestamp_pb2.Timestamp
    last_used_time: _timestamp_pb2.Timestamp
    retiring: _containers.RepeatedCompositeFieldContainer[RetiringKey]
    etag: str
    weak_key: bool
    rotate_before: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[Credential.State, str]] = ..., kind: _Optional[_Union[Credential.Kind, str]] = ..., version: _Optional[int] = ..., hmac_algorithm: _Optional[_Union[Credential.HmacAlgorithm, str]] = ..., secret_format: _Optional[_Union[Credential.SecretFormat, str]] = ..., fingerprint: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., renew_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoke_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_used_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retiring: _Optional[_Iterable[_Union[RetiringKey, _Mapping]]] = ..., etag: _Optional[str] = ..., weak_key: _Optional[bool] = ..., rotate_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RetiringKey(_message.Message):
    __slots__ = ("version", "expire_time", "last_used_time")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_TIME_FIELD_NUMBER: _ClassVar[int]
    version: int
    expire_time: _timestamp_pb2.Timestamp
    last_used_time: _timestamp_pb2.Timestamp
    def __init__(self, version: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_used_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Secret(_message.Message):
    __slots__ = ("value", "sealed", "format", "mechanism")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    MECHANISM_FIELD_NUMBER: _ClassVar[int]
    value: str
    sealed: bytes
    format: Credential.SecretFormat
    mechanism: str
    def __init__(self, value: _Optional[str] = ..., sealed: _Optional[bytes] = ..., format: _Optional[_Union[Credential.SecretFormat, str]] = ..., mechanism: _Optional[str] = ...) -> None: ...
