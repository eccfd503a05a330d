"""All of a caller's merchants seen together: which credentials are due, and how many stand where."""

from __future__ import annotations

from datetime import timedelta

from keysvc.model.changing import check_span
from keysvc.model.errors import InvalidField
from keysvc.model.fleet import DueSlot, FleetSummary, FleetTimes
from keysvc.model.merchants import no_merchant
from keysvc.model.names import CredentialName
from keysvc.model.principals import ALL_MERCHANTS
from keysvc.service.authority import merchants_of
from keysvc.service.calls import Caller, Clock
from keysvc.service.viewing import CredentialView, Viewing
from keysvc.store.queries import Theirs
from keysvc.store.store import Store


class Fleet:
    """Views: rows are not checked. A merchant's id of "-" stands for all that the caller may see."""

    def __init__(self, store: Store, viewing: Viewing, now: Clock) -> None:
        self._store = store
        self._viewing = viewing
        self._now = now

    def due(
        self, caller: Caller, merchant_id: str, within: timedelta, after: str | None, limit: int
    ) -> list[tuple[DueSlot, CredentialView]]:
        """The most overdue first, those after the one that `after` names. Raises NotFound or InvalidField."""
        last = None if after is None else _parsed(after)
        before = self._now() + check_span(within, "due_within")
        found = self._store.due(last, limit, before, self._asked(caller, merchant_id))
        return [(each, self._viewing.get(CredentialName(each.merchant_id, each.slot))) for each in found]

    def summary(self, caller: Caller, merchant_id: str, due_within: timedelta, used_within: timedelta) -> FleetSummary:
        """Raises NotFound or InvalidField."""
        now = self._now()
        due_before = now + check_span(due_within, "due_within")
        times = FleetTimes(now, due_before, now - check_span(used_within, "used_within"))
        return self._store.summary(times, self._asked(caller, merchant_id))

    def _asked(self, caller: Caller, merchant_id: str) -> Theirs:
        if merchant_id == ALL_MERCHANTS:
            return merchants_of(caller)
        if self._store.merchant(merchant_id) is None:
            raise no_merchant(merchant_id)
        return (merchant_id,)


def _parsed(after: str) -> DueSlot:
    try:
        return DueSlot.parse(after)
    except ValueError:
        raise InvalidField("page_token", "is of no list: send back next_page_token as it was") from None
