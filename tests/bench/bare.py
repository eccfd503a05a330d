"""A bare grpcio server, as a program of its own: `python -m bench.bare THREADS`.

What gRPC costs in Python before anything is done: no authentication, no database, no token.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from keysvc.v1 import credential_service_pb2 as pb

SERVICE = "bench.Bare"
KEY_VERSION = 1


def _echo(request: bytes, _context: grpc.ServicerContext) -> bytes:
    return request


def _verify(request: pb.VerifyHmacRequest, _context: grpc.ServicerContext) -> pb.VerifyHmacResponse:
    return pb.VerifyHmacResponse(result="VALID", matched_credential=request.name, matched_version=KEY_VERSION)


def serve(threads: int) -> None:
    """Prints its address, and serves until it is killed.

    `Echo` answers the request's bytes, unread; `Typed` reads and writes VerifyHmac's messages with the
    generated code.
    """
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(_echo),
        "Typed": grpc.unary_unary_rpc_method_handler(
            _verify, pb.VerifyHmacRequest.FromString, pb.VerifyHmacResponse.SerializeToString
        ),
    }
    server = grpc.server(ThreadPoolExecutor(threads))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
