"""TokenService on the wire: parse, one service call, convert."""

from __future__ import annotations

from dataclasses import dataclass

from keysvc.model.errors import InvalidField
from keysvc.model.names import parse_merchant, parse_merchant_or_token, parse_token
from keysvc.rpc.convert import set_time, sized, time_of
from keysvc.service.calls import Caller
from keysvc.service.merchant_tokens import MerchantTokens, NewToken, TokenView
from keysvc.v1 import token_service_pb2 as pb
from keysvc.v1.token_pb2 import Token


@dataclass(frozen=True, slots=True)
class TokenServicer:
    """The rpcs of TokenService. Each is given the Caller that the gate let through."""

    tokens: MerchantTokens

    def CreateToken(self, request: pb.CreateTokenRequest, caller: Caller) -> pb.CreateTokenResponse:
        merchant_id = parse_merchant(request.parent, "parent")
        expire_time = time_of(request.expire_time, "expire_time") if request.HasField("expire_time") else None
        new = NewToken(merchant_id, request.token_id, expire_time, request.request_id)
        view, secret = self.tokens.create(caller, new)
        return pb.CreateTokenResponse(token=_token(view), secret=secret.reveal())

    def ListTokens(self, request: pb.ListTokensRequest, _caller: Caller) -> pb.ListTokensResponse:
        views = self.tokens.list(parse_merchant(request.parent, "parent"))
        return pb.ListTokensResponse(tokens=[_token(view) for view in views])

    def RevokeToken(self, request: pb.RevokeTokenRequest, caller: Caller) -> pb.RevokeTokenResponse:
        view = self.tokens.revoke(caller, parse_token(request.name), request.request_id)
        return pb.RevokeTokenResponse(token=_token(view))

    def VerifyToken(self, request: pb.VerifyTokenRequest, caller: Caller) -> pb.VerifyTokenResponse:
        merchant_id, token_id = parse_merchant_or_token(request.name)
        if not request.secret:
            raise InvalidField("secret", "is absent: send the token's secret as it was presented")
        verdict = self.tokens.verify(caller, merchant_id, token_id, sized(request.secret, "secret"))
        return pb.VerifyTokenResponse(result=verdict.result, matched_token=str(verdict.name or ""))


def _token(view: TokenView) -> Token:
    """All that is known of a token but its secret."""
    message = Token(name=str(view.name))
    if view.record is not None:
        message.fingerprint = view.record.fingerprint
        set_time(message.create_time, view.record.create_time)
        set_time(message.expire_time, view.record.expire_time)
    return message
