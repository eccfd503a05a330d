"""Who may call what: one table, default deny. A method without a row may be called by nobody.

Methods are named by their gRPC path, `/package.Service/Method`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from keysvc.model.principals import PrincipalKind
from keysvc.model.slots import Slot


class Effect(StrEnum):
    """What a method does. Every refusal of a change is recorded, as is every change."""

    CHANGE = "CHANGE"
    USE = "USE"
    VIEW = "VIEW"


class Grant(StrEnum):
    """On which merchants a kind of principal may call a method, and what right it must have besides."""

    __hash__ = str.__hash__

    ANY = "ANY"
    """On all."""
    OWN = "OWN"
    """A PSP or ACQUIRER: on those that name it. A MERCHANT or SERVICE: on those that it lists."""
    EDIT = "EDIT"
    """On its own, with can_edit_credentials."""
    SIGN = "SIGN"
    """On its own, with can_sign."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One row of the table."""

    effect: Effect
    grants: dict[PrincipalKind, Grant]


CHANGE, USE, VIEW = Effect
ANY, OWN, EDIT, SIGN = Grant
NO = None

_KINDS = ("ADMIN", "PSP", "ACQUIRER", "MERCHANT", "SERVICE", "AUDITOR")
# fmt: off
_ROWS: dict[str, tuple[Effect, *tuple[Grant | None, ...]]] = {
    #                                                   ADMIN PSP   ACQ.  MERCH SERV. AUDITOR
    "CredentialService/CreateCredential":       (CHANGE, ANY, EDIT, EDIT, EDIT, NO,   NO),
    "CredentialService/RenewCredential":        (CHANGE, ANY, EDIT, EDIT, EDIT, NO,   NO),
    "CredentialService/RevokeCredential":       (CHANGE, ANY, EDIT, EDIT, EDIT, NO,   NO),
    "CredentialService/ImportCredential":       (CHANGE, ANY, EDIT, EDIT, EDIT, NO,   NO),
    "CredentialService/SwapCredentials":        (CHANGE, ANY, EDIT, EDIT, EDIT, NO,   NO),
    "CredentialService/ScheduleRotation":       (CHANGE, ANY, EDIT, EDIT, EDIT, NO,   NO),
    "CredentialService/GetRotation":            (VIEW,   ANY, OWN,  OWN,  OWN,  NO,   ANY),
    "CredentialService/SummarizeCredentials":   (VIEW,   ANY, OWN,  OWN,  OWN,  NO,   ANY),
    "CredentialService/GetImportKey":           (VIEW,   ANY, ANY,  ANY,  ANY,  NO,   NO),
    "CredentialService/GetCredential":          (VIEW,   ANY, OWN,  OWN,  OWN,  NO,   ANY),
    "CredentialService/ListCredentials":        (VIEW,   ANY, OWN,  OWN,  OWN,  NO,   ANY),
    "CredentialService/GenerateHmac":           (USE,    ANY, NO,   NO,   NO,   SIGN, NO),
    "CredentialService/VerifyHmac":             (USE,    ANY, NO,   NO,   NO,   OWN,  NO),
    "CredentialService/BatchVerifyHmac":        (USE,    ANY, NO,   NO,   NO,   OWN,  NO),
    "CredentialService/SignWebhook":            (USE,    ANY, NO,   NO,   NO,   SIGN, NO),
    "CredentialService/VerifyWebhook":          (USE,    ANY, NO,   NO,   NO,   OWN,  NO),
    "CredentialService/VerifyApiKey":           (USE,    ANY, NO,   NO,   NO,   OWN,  NO),
    "CredentialService/Encrypt":                (USE,    ANY, NO,   NO,   NO,   SIGN, NO),
    "CredentialService/Decrypt":                (USE,    ANY, NO,   NO,   NO,   SIGN, NO),
    "TokenService/CreateToken":                 (CHANGE, ANY, EDIT, EDIT, EDIT, NO,   NO),
    "TokenService/ListTokens":                  (VIEW,   ANY, OWN,  OWN,  OWN,  NO,   ANY),
    "TokenService/RevokeToken":                 (CHANGE, ANY, EDIT, EDIT, EDIT, NO,   NO),
    "TokenService/VerifyToken":                 (USE,    ANY, NO,   NO,   NO,   OWN,  NO),
    "MerchantService/CreateMerchant":           (CHANGE, ANY, NO,   NO,   NO,   NO,   NO),
    "MerchantService/GetMerchant":              (VIEW,   ANY, OWN,  OWN,  OWN,  NO,   ANY),
    "MerchantService/ListMerchants":            (VIEW,   ANY, OWN,  OWN,  OWN,  NO,   ANY),
    "MerchantService/ActivateMerchant":         (CHANGE, ANY, NO,   NO,   NO,   NO,   NO),
    "MerchantService/SuspendMerchant":          (CHANGE, ANY, NO,   NO,   NO,   NO,   NO),
    "MerchantService/TerminateMerchant":        (CHANGE, ANY, NO,   NO,   NO,   NO,   NO),
    "PrincipalService/CreatePrincipal":         (CHANGE, ANY, NO,   NO,   NO,   NO,   NO),
    "PrincipalService/GetPrincipal":            (VIEW,   ANY, NO,   NO,   NO,   NO,   ANY),
    "PrincipalService/ListPrincipals":          (VIEW,   ANY, NO,   NO,   NO,   NO,   ANY),
    "PrincipalService/UpdatePrincipal":         (CHANGE, ANY, NO,   NO,   NO,   NO,   NO),
    "PrincipalService/RenewPrincipalPassword":  (CHANGE, ANY, NO,   NO,   NO,   NO,   NO),
    "PrincipalService/DisablePrincipal":        (CHANGE, ANY, NO,   NO,   NO,   NO,   NO),
    "HsmKeyService/ListHsmKeys":                (VIEW,   ANY, NO,   NO,   NO,   NO,   ANY),
    "HsmKeyService/RequestHsmKey":              (CHANGE, ANY, NO,   NO,   NO,   NO,   NO),
    "HsmKeyService/ApproveHsmKey":              (CHANGE, ANY, NO,   NO,   NO,   NO,   NO),
    "HsmKeyService/WithdrawHsmKey":             (CHANGE, ANY, NO,   NO,   NO,   NO,   NO),
    "AuditService/ListAuditEvents":             (VIEW,   ANY, NO,   NO,   NO,   NO,   ANY),
    "AuditService/GetAuditHead":                (VIEW,   ANY, NO,   NO,   NO,   NO,   ANY),
}
# fmt: on

REMOTE_SLOT = Slot.API_PASSWORD
"""The slot whose new secrets only an ADMIN, or a PSP or ACQUIRER with remote_access, may have."""
REMOTE_METHODS = frozenset(f"/keysvc.v1.CredentialService/{verb}Credential" for verb in ("Create", "Renew", "Import"))
"""Ways to a new secret. Revoking and creating is one, and so is importing: each would do in the place of renewing."""

_REFLECTION = Permission(VIEW, dict.fromkeys(PrincipalKind, ANY))

PERMISSIONS: dict[str, Permission] = {
    **{
        f"/keysvc.v1.{method}": Permission(
            effect, {PrincipalKind(kind): grant for kind, grant in zip(_KINDS, grants, strict=True) if grant}
        )
        for method, (effect, *grants) in _ROWS.items()
    },
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _REFLECTION,
}

FILTERED: frozenset[str] = frozenset(
    f"/keysvc.v1.{method}"
    for method in (
        "MerchantService/ListMerchants",
        "CredentialService/ListCredentials",
        "CredentialService/SummarizeCredentials",
    )
)
"""Methods that answer only what the caller may see where they name no merchant, or `merchants/-`."""

BATCHES: frozenset[str] = frozenset({"/keysvc.v1.CredentialService/BatchVerifyHmac"})
"""Methods whose requests hold requests, each of which is held to the caller's own by itself."""

PUBLIC: frozenset[str] = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""Called without credentials: a load balancer has none."""


def grants_of(kind: PrincipalKind) -> dict[str, Grant]:
    """What a kind of principal may call, by method."""
    return {method: row.grants[kind] for method, row in PERMISSIONS.items() if kind in row.grants}
