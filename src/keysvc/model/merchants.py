"""Which state a merchant may move to, and what its state forbids."""

from __future__ import annotations

from keysvc.model.errors import MerchantNotActive, NotFound
from keysvc.model.names import merchant_name
from keysvc.model.records import MerchantRecord, MerchantState

_MOVES: dict[MerchantState, frozenset[MerchantState]] = {
    MerchantState.WAITING_ACTIVATION: frozenset({MerchantState.ACTIVE, MerchantState.TERMINATED}),
    MerchantState.ACTIVE: frozenset({MerchantState.SUSPENDED, MerchantState.TERMINATED}),
    MerchantState.SUSPENDED: frozenset({MerchantState.ACTIVE, MerchantState.TERMINATED}),
    MerchantState.TERMINATED: frozenset(),
}


def no_merchant(merchant_id: str) -> NotFound:
    """Said to those who may know."""
    return NotFound(f"There is no merchant {merchant_id}", resource=merchant_name(merchant_id))


def check_move(merchant: MerchantRecord, target: MerchantState) -> None:
    """Raises MerchantNotActive where the merchant cannot become `target`."""
    if target not in _MOVES[merchant.state]:
        raise MerchantNotActive(
            f"Merchant {merchant.merchant_id} is {merchant.state} and cannot become {target}", state=merchant.state
        )


def require_active(merchant: MerchantRecord) -> None:
    """Raises MerchantNotActive unless the merchant is ACTIVE."""
    if merchant.state is not MerchantState.ACTIVE:
        raise MerchantNotActive(f"Merchant not in 'ACTIVE' state: it is {merchant.state}", state=merchant.state)
