import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WebhookScheme(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEBHOOK_SCHEME_UNSPECIFIED: _ClassVar[WebhookScheme]
    STANDARD_WEBHOOKS: _ClassVar[WebhookScheme]
    STRIPE: _ClassVar[WebhookScheme]
    GITHUB: _ClassVar[WebhookScheme]
    SLACK_V0: _ClassVar[WebhookScheme]
    SQUARE: _ClassVar[WebhookScheme]
    SHOPIFY: _ClassVar[WebhookScheme]
    ADYEN_NOTIFICATION: _ClassVar[WebhookScheme]
    ADYEN_PAYLOAD: _ClassVar[WebhookScheme]
    COMPUTOP_REQUEST: _ClassVar[WebhookScheme]
    COMPUTOP_NOTIFY: _ClassVar[WebhookScheme]
WEBHOOK_SCHEME_UNSPECIFIED: WebhookScheme
STANDARD_WEBHOOKS: WebhookScheme
STRIPE: WebhookScheme
GITHUB: WebhookScheme
SLACK_V0: WebhookScheme
SQUARE: WebhookScheme
SHOPIFY: WebhookScheme
ADYEN_NOTIFICATION: WebhookScheme
ADYEN_PAYLOAD: WebhookScheme
COMPUTOP_REQUEST: WebhookScheme
COMPUTOP_NOTIFY: WebhookScheme

class SignWebhookRequest(_message.Message):
    __slots__ = ("name", "scheme", "body", "url", "fields", "event_id", "time")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    scheme: WebhookScheme
    body: bytes
    url: str
    fields: _containers.ScalarMap[str, str]
    event_id: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., scheme: _Optional[_Union[WebhookScheme, str]] = ..., body: _Optional[bytes] = ..., url: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ..., event_id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SignWebhookResponse(_message.Message):
    __slots__ = ("headers", "fields", "signers")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    SIGNERS_FIELD_NUMBER: _ClassVar[int]
    headers: _containers.ScalarMap[str, str]
    fields: _containers.ScalarMap[str, str]
    signers: _containers.RepeatedCompositeFieldContainer[WebhookSigner]
    def __init__(self, headers: _Optional[_Mapping[str, str]] = ..., fields: _Optional[_Mapping[str, str]] = ..., signers: _Optional[_Iterable[_Union[WebhookSigner, _Mapping]]] = ...) -> None: ...

class WebhookSigner(_message.Message):
    __slots__ = ("credential", "version")
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    credential: str
    version: int
    def __init__(self, credential: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class VerifyWebhookRequest(_message.Message):
    __slots__ = ("name", "scheme", "headers", "body", "url", "fields", "tolerance")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    scheme: WebhookScheme
    headers: _containers.ScalarMap[str, str]
    body: bytes
    url: str
    fields: _containers.ScalarMap[str, str]
    tolerance: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., scheme: _Optional[_Union[WebhookScheme, str]] = ..., headers: _Optional[_Mapping[str, str]] = ..., body: _Optional[bytes] = ..., url: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ..., tolerance: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class VerifyWebhookResponse(_message.Message):
    __slots__ = ("result", "matched_credential", "matched_version", "retiring")
    class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RESULT_UNSPECIFIED: _ClassVar[VerifyWebhookResponse.Result]
        VALID: _ClassVar[VerifyWebhookResponse.Result]
        INVALID: _ClassVar[VerifyWebhookResponse.Result]
        NO_LIVE_KEY: _ClassVar[VerifyWebhookResponse.Result]
        MERCHANT_NOT_ACTIVE: _ClassVar[VerifyWebhookResponse.Result]
        STALE_TIMESTAMP: _ClassVar[VerifyWebhookResponse.Result]
        MALFORMED_SIGNATURE: _ClassVar[VerifyWebhookResponse.Result]
    RESULT_UNSPECIFIED: VerifyWebhookResponse.Result
    VALID: VerifyWebhookResponse.Result
    INVALID: VerifyWebhookResponse.Result
    NO_LIVE_KEY: VerifyWebhookResponse.Result
    MERCHANT_NOT_ACTIVE: VerifyWebhookResponse.Result
    STALE_TIMESTAMP: VerifyWebhookResponse.Result
    MALFORMED_SIGNATURE: VerifyWebhookResponse.Result
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MATCHED_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    MATCHED_VERSION_FIELD_NUMBER: _ClassVar[int]
    RETIRING_FIELD_NUMBER: _ClassVar[int]
    result: VerifyWebhookResponse.Result
    matched_credential: str
    matched_version: int
    retiring: bool
    def __init__(self, result: _Optional[_Union[VerifyWebhookResponse.Result, str]] = ..., matched_credential: _Optional[str] = ..., matched_version: _Optional[int] = ..., retiring: _Optional[bool] = ...) -> None: ...
