"""The client of keysvc, for Python programs: sync and asyncio. See docs/client.md.

Knows the contract's messages and gRPC, and nothing of the service.
"""

from keysvc.client.aio import AsyncClient
from keysvc.client.batcher import Batching
from keysvc.client.calls import CreateOptions
from keysvc.client.channel import Authorization, Basic, Tls
from keysvc.client.errors import CallFailed
from keysvc.client.received import ReceivedWebhook
from keysvc.client.results import Kind, NewSecret, Result, RotationStep, Scheme, SignedWebhook, Verdict, text_of
from keysvc.client.sync import Client
from keysvc.v1.credential_pb2 import Credential
from keysvc.v1.hsm_key_pb2 import HsmKey
from keysvc.v1.rotation_pb2 import KeyTraffic, Rotation

__all__ = [
    "AsyncClient",
    "Authorization",
    "Basic",
    "Batching",
    "CallFailed",
    "Client",
    "CreateOptions",
    "Credential",
    "HsmKey",
    "KeyTraffic",
    "Kind",
    "NewSecret",
    "ReceivedWebhook",
    "Result",
    "Rotation",
    "RotationStep",
    "Scheme",
    "SignedWebhook",
    "Tls",
    "Verdict",
    "text_of",
]
