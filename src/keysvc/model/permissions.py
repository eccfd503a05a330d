"""Who may call what: one table, default deny. A method without a row may be called by nobody.

Methods are named by their gRPC path, `/package.Service/Method`.
"""

from __future__ import annotations

from keysvc.model.principals import PrincipalKind

_ADMIN = frozenset({PrincipalKind.ADMIN})
_ANYONE_KNOWN = frozenset(PrincipalKind)

CALLERS: dict[str, frozenset[PrincipalKind]] = {
    "/keysvc.v1.CredentialService/CreateCredential": _ADMIN,
    "/keysvc.v1.CredentialService/RenewCredential": _ADMIN,
    "/keysvc.v1.CredentialService/RevokeCredential": _ADMIN,
    "/keysvc.v1.CredentialService/ImportCredential": _ADMIN,
    "/keysvc.v1.CredentialService/GetImportKey": _ADMIN,
    "/keysvc.v1.CredentialService/GetCredential": _ADMIN,
    "/keysvc.v1.CredentialService/ListCredentials": _ADMIN,
    "/keysvc.v1.CredentialService/GenerateHmac": _ADMIN,
    "/keysvc.v1.CredentialService/VerifyHmac": _ADMIN,
    "/keysvc.v1.CredentialService/VerifyApiKey": _ADMIN,
    "/keysvc.v1.CredentialService/Encrypt": _ADMIN,
    "/keysvc.v1.CredentialService/Decrypt": _ADMIN,
    "/keysvc.v1.MerchantService/CreateMerchant": _ADMIN,
    "/keysvc.v1.MerchantService/GetMerchant": _ADMIN,
    "/keysvc.v1.MerchantService/ListMerchants": _ADMIN,
    "/keysvc.v1.MerchantService/ActivateMerchant": _ADMIN,
    "/keysvc.v1.MerchantService/SuspendMerchant": _ADMIN,
    "/keysvc.v1.MerchantService/TerminateMerchant": _ADMIN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _ANYONE_KNOWN,
}

PUBLIC: frozenset[str] = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""Called without credentials: a load balancer has none."""
