from keysvc.v1 import hsm_key_pb2 as _hsm_key_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListHsmKeysRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListHsmKeysResponse(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[_hsm_key_pb2.HsmKey]
    def __init__(self, keys: _Optional[_Iterable[_Union[_hsm_key_pb2.HsmKey, _Mapping]]] = ...) -> None: ...

class RequestHsmKeyRequest(_message.Message):
    __slots__ = ("purpose", "request_id")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    purpose: _hsm_key_pb2.HsmKey.Purpose
    request_id: str
    def __init__(self, purpose: _Optional[_Union[_hsm_key_pb2.HsmKey.Purpose, str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ApproveHsmKeyRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class WithdrawHsmKeyRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class WithdrawHsmKeyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
