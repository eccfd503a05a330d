import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from keysvc.v1 import credential_pb2 as _credential_pb2
from keysvc.v1 import rotation_pb2 as _rotation_pb2
from keysvc.v1 import webhook_pb2 as _webhook_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateCredentialRequest(_message.Message):
    __slots__ = ("name", "request_id", "hmac_algorithm", "secret_format", "recipient_public_key", "rotate_before")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HMAC_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    SECRET_FORMAT_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    ROTATE_BEFORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    hmac_algorithm: _credential_pb2.Credential.HmacAlgorithm
    secret_format: _credential_pb2.Credential.SecretFormat
    recipient_public_key: str
    rotate_before: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ..., hmac_algorithm: _Optional[_Union[_credential_pb2.Credential.HmacAlgorithm, str]] = ..., secret_format: _Optional[_Union[_credential_pb2.Credential.SecretFormat, str]] = ..., recipient_public_key: _Optional[str] = ..., rotate_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateCredentialResponse(_message.Message):
    __slots__ = ("credential", "secret")
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    credential: _credential_pb2.Credential
    secret: _credential_pb2.Secret
    def __init__(self, credential: _Optional[_Union[_credential_pb2.Credential, _Mapping]] = ..., secret: _Optional[_Union[_credential_pb2.Secret, _Mapping]] = ...) -> None: ...

class RenewCredentialRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id", "previous_ttl", "secret_format", "recipient_public_key", "rotate_before")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_TTL_FIELD_NUMBER: _ClassVar[int]
    SECRET_FORMAT_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    ROTATE_BEFORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    previous_ttl: _duration_pb2.Duration
    secret_format: _credential_pb2.Credential.SecretFormat
    recipient_public_key: str
    rotate_before: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., previous_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., secret_format: _Optional[_Union[_credential_pb2.Credential.SecretFormat, str]] = ..., recipient_public_key: _Optional[str] = ..., rotate_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RenewCredentialResponse(_message.Message):
    __slots__ = ("credential", "secret")
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    credential: _credential_pb2.Credential
    secret: _credential_pb2.Secret
    def __init__(self, credential: _Optional[_Union[_credential_pb2.Credential, _Mapping]] = ..., secret: _Optional[_Union[_credential_pb2.Secret, _Mapping]] = ...) -> None: ...

class RevokeCredentialRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id", "unused_for", "validate_only", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    UNUSED_FOR_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    unused_for: _duration_pb2.Duration
    validate_only: bool
    version: int
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., unused_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., validate_only: _Optional[bool] = ..., version: _Optional[int] = ...) -> None: ...

class RevokeCredentialResponse(_message.Message):
    __slots__ = ("credential",)
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    credential: _credential_pb2.Credential
    def __init__(self, credential: _Optional[_Union[_credential_pb2.Credential, _Mapping]] = ...) -> None: ...

class ImportCredentialRequest(_message.Message):
    __slots__ = ("name", "request_id", "hmac_algorithm", "secret_format", "secret", "sealed_secret", "allow_weak_key", "rotate_before")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HMAC_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    SECRET_FORMAT_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    SEALED_SECRET_FIELD_NUMBER: _ClassVar[int]
    ALLOW_WEAK_KEY_FIELD_NUMBER: _ClassVar[int]
    ROTATE_BEFORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    hmac_algorithm: _credential_pb2.Credential.HmacAlgorithm
    secret_format: _credential_pb2.Credential.SecretFormat
    secret: str
    sealed_secret: bytes
    allow_weak_key: bool
    rotate_before: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ..., hmac_algorithm: _Optional[_Union[_credential_pb2.Credential.HmacAlgorithm, str]] = ..., secret_format: _Optional[_Union[_credential_pb2.Credential.SecretFormat, str]] = ..., secret: _Optional[str] = ..., sealed_secret: _Optional[bytes] = ..., allow_weak_key: _Optional[bool] = ..., rotate_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ImportCredentialResponse(_message.Message):
    __slots__ = ("credential",)
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    credential: _credential_pb2.Credential
    def __init__(self, credential: _Optional[_Union[_credential_pb2.Credential, _Mapping]] = ...) -> None: ...

class GetImportKeyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetImportKeyResponse(_message.Message):
    __slots__ = ("public_key", "mechanism")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    MECHANISM_FIELD_NUMBER: _ClassVar[int]
    public_key: str
    mechanism: str
    def __init__(self, public_key: _Optional[str] = ..., mechanism: _Optional[str] = ...) -> None: ...

class GetCredentialRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListCredentialsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "due_within")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DUE_WITHIN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    due_within: _duration_pb2.Duration
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., due_within: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListCredentialsResponse(_message.Message):
    __slots__ = ("credentials", "next_page_token")
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    credentials: _containers.RepeatedCompositeFieldContainer[_credential_pb2.Credential]
    next_page_token: str
    def __init__(self, credentials: _Optional[_Iterable[_Union[_credential_pb2.Credential, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GenerateHmacRequest(_message.Message):
    __slots__ = ("name", "message")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    message: bytes
    def __init__(self, name: _Optional[str] = ..., message: _Optional[bytes] = ...) -> None: ...

class GenerateHmacResponse(_message.Message):
    __slots__ = ("mac", "credential", "version")
    MAC_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    mac: bytes
    credential: str
    version: int
    def __init__(self, mac: _Optional[bytes] = ..., credential: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class VerifyHmacRequest(_message.Message):
    __slots__ = ("name", "message", "mac")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    name: str
    message: bytes
    mac: bytes
    def __init__(self, name: _Optional[str] = ..., message: _Optional[bytes] = ..., mac: _Optional[bytes] = ...) -> None: ...

class VerifyHmacResponse(_message.Message):
    __slots__ = ("result", "matched_credential", "matched_version", "retiring")
    class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RESULT_UNSPECIFIED: _ClassVar[VerifyHmacResponse.Result]
        VALID: _ClassVar[VerifyHmacResponse.Result]
        INVALID: _ClassVar[VerifyHmacResponse.Result]
        NO_LIVE_KEY: _ClassVar[VerifyHmacResponse.Result]
        MERCHANT_NOT_ACTIVE: _ClassVar[VerifyHmacResponse.Result]
    RESULT_UNSPECIFIED: VerifyHmacResponse.Result
    VALID: VerifyHmacResponse.Result
    INVALID: VerifyHmacResponse.Result
    NO_LIVE_KEY: VerifyHmacResponse.Result
    MERCHANT_NOT_ACTIVE: VerifyHmacResponse.Result
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MATCHED_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    MATCHED_VERSION_FIELD_NUMBER: _ClassVar[int]
    RETIRING_FIELD_NUMBER: _ClassVar[int]
    result: VerifyHmacResponse.Result
    matched_credential: str
    matched_version: int
    retiring: bool
    def __init__(self, result: _Optional[_Union[VerifyHmacResponse.Result, str]] = ..., matched_credential: _Optional[str] = ..., matched_version: _Optional[int] = ..., retiring: _Optional[bool] = ...) -> None: ...

class BatchVerifyHmacRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[VerifyHmacRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[VerifyHmacRequest, _Mapping]]] = ...) -> None: ...

class BatchVerifyHmacResponse(_message.Message):
    __slots__ = ("results",)
    class Outcome(_message.Message):
        __slots__ = ("response", "error")
        RESPONSE_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        response: VerifyHmacResponse
        error: _status_pb2.Status
        def __init__(self, response: _Optional[_Union[VerifyHmacResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchVerifyHmacResponse.Outcome]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchVerifyHmacResponse.Outcome, _Mapping]]] = ...) -> None: ...

class VerifyApiKeyRequest(_message.Message):
    __slots__ = ("name", "api_key")
    NAME_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    name: str
    api_key: str
    def __init__(self, name: _Optional[str] = ..., api_key: _Optional[str] = ...) -> None: ...

class VerifyApiKeyResponse(_message.Message):
    __slots__ = ("result", "matched_credential", "matched_version", "retiring")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MATCHED_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    MATCHED_VERSION_FIELD_NUMBER: _ClassVar[int]
    RETIRING_FIELD_NUMBER: _ClassVar[int]
    result: VerifyHmacResponse.Result
    matched_credential: str
    matched_version: int
    retiring: bool
    def __init__(self, result: _Optional[_Union[VerifyHmacResponse.Result, str]] = ..., matched_credential: _Optional[str] = ..., matched_version: _Optional[int] = ..., retiring: _Optional[bool] = ...) -> None: ...

class EncryptRequest(_message.Message):
    __slots__ = ("name", "plaintext", "additional_data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    plaintext: bytes
    additional_data: bytes
    def __init__(self, name: _Optional[str] = ..., plaintext: _Optional[bytes] = ..., additional_data: _Optional[bytes] = ...) -> None: ...

class EncryptResponse(_message.Message):
    __slots__ = ("ciphertext", "version")
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ciphertext: bytes
    version: int
    def __init__(self, ciphertext: _Optional[bytes] = ..., version: _Optional[int] = ...) -> None: ...

class DecryptRequest(_message.Message):
    __slots__ = ("name", "ciphertext", "additional_data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    ciphertext: bytes
    additional_data: bytes
    def __init__(self, name: _Optional[str] = ..., ciphertext: _Optional[bytes] = ..., additional_data: _Optional[bytes] = ...) -> None: ...

class DecryptResponse(_message.Message):
    __slots__ = ("plaintext", "version")
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    plaintext: bytes
    version: int
    def __init__(self, plaintext: _Optional[bytes] = ..., version: _Optional[int] = ...) -> None: ...
