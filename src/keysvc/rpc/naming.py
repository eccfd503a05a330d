"""What a request names and what an answer found, told by the messages' descriptors: for the gate, once a method."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from keysvc.model.names import merchant_name, principal_name

Namer = Callable[[Any], str]

_NAMERS: dict[str, Namer] = {
    "name": attrgetter("name"),
    "parent": attrgetter("parent"),
    "merchant_id": lambda request: merchant_name(request.merchant_id),
    "principal_id": lambda request: principal_name(request.principal_id),
    "principal": attrgetter("principal.name"),
}
"""From a request to the resource it is about, by the field that tells; the first that a request has."""


def descriptor_of(path: str) -> MethodDescriptor | None:
    """The method of a gRPC path, None where it is not of this project's contract."""
    service, _, method = path.removeprefix("/").rpartition("/")
    if not service.startswith("keysvc."):
        return None
    pool = descriptor_pool.Default()
    found: MethodDescriptor = pool.FindServiceByName(service).methods_by_name[method]
    return found


def namer_of(method: MethodDescriptor | None) -> Namer:
    """Answers nothing for requests that are about no one resource."""
    fields = method.input_type.fields_by_name if method else {}
    return next((namer for field, namer in _NAMERS.items() if field in fields), lambda _request: "")


def is_about_one(method: MethodDescriptor) -> bool:
    """Whether its requests carry a resource's name, or its parent's."""
    return bool({"name", "parent"} & set(method.input_type.fields_by_name))


def results_of(method: MethodDescriptor | None) -> dict[int, str]:
    """The results that its answers can hold, by number; none for a method that verifies nothing."""
    field = method.output_type.fields_by_name.get("result") if method else None
    if field is None or field.enum_type is None:
        return {}
    return {value.number: value.name for value in field.enum_type.values}


def request_id_of(request: Any) -> str:
    return getattr(request, "request_id", "")
