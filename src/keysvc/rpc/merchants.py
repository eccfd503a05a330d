"""MerchantService on the wire: parse, one service call, convert."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from keysvc.model.errors import InvalidField
from keysvc.model.names import merchant_name, parse_merchant
from keysvc.model.records import MerchantState
from keysvc.rpc import convert
from keysvc.rpc.convert import sized
from keysvc.rpc.pages import Sizes, page_of
from keysvc.service.calls import Caller
from keysvc.service.merchants import Merchants, NewMerchant
from keysvc.v1 import merchant_service_pb2 as pb
from keysvc.v1.merchant_pb2 import Merchant

_LIST = "merchants"
_SIZES = Sizes(default=50, most=1000)


class _Move(Protocol):
    """A request to change a merchant's state."""

    name: str
    etag: str


@dataclass(frozen=True, slots=True)
class MerchantServicer:
    """The rpcs of MerchantService. Each is given the Caller that the gate let through."""

    merchants: Merchants

    def CreateMerchant(self, request: pb.CreateMerchantRequest, caller: Caller) -> Merchant:
        wanted = request.merchant
        if wanted.name not in ("", merchant_name(request.merchant_id)):
            raise InvalidField("merchant.name", "must be empty, or merchants/ and the merchant_id")
        new = NewMerchant(request.merchant_id, sized(wanted.display_name, "merchant.display_name"),
                          wanted.psp, wanted.acquirer)  # fmt: skip
        return convert.merchant(self.merchants.create(caller, new))

    def GetMerchant(self, request: pb.GetMerchantRequest, _caller: Caller) -> Merchant:
        return convert.merchant(self.merchants.get(parse_merchant(request.name)))

    def ListMerchants(self, request: pb.ListMerchantsRequest, caller: Caller) -> pb.ListMerchantsResponse:
        page, next_page_token = page_of(
            request, _LIST, _SIZES, partial(self.merchants.list, caller), lambda record: record.merchant_id
        )
        return pb.ListMerchantsResponse(
            merchants=[convert.merchant(record) for record in page], next_page_token=next_page_token
        )

    def ActivateMerchant(self, request: pb.ActivateMerchantRequest, caller: Caller) -> Merchant:
        return self._move(request, caller, MerchantState.ACTIVE)

    def SuspendMerchant(self, request: pb.SuspendMerchantRequest, caller: Caller) -> Merchant:
        return self._move(request, caller, MerchantState.SUSPENDED)

    def TerminateMerchant(self, request: pb.TerminateMerchantRequest, caller: Caller) -> Merchant:
        return self._move(request, caller, MerchantState.TERMINATED)

    def _move(self, request: _Move, caller: Caller, target: MerchantState) -> Merchant:
        merchant_id = parse_merchant(request.name)
        return convert.merchant(self.merchants.move(caller, merchant_id, request.etag, target))
