"""What a process remembers of merchants is bounded by their number and by what they hold."""

from __future__ import annotations

from datetime import timedelta

import pytest
from store.records import NOON, a_merchant

from keysvc.model.records import MerchantToken
from keysvc.service import remembered
from keysvc.service.remembered import Remembered
from keysvc.service.views import MerchantView, TokensView


def _view(merchant_id: str, tokens: int = 0) -> MerchantView:
    """With so many tokens, each of which counts as a key does."""
    some = tuple(
        MerchantToken(f"t-{number}", "00", 1, "0123456789abcdef", NOON, NOON + timedelta(days=1))
        for number in range(tokens)
    )
    return MerchantView(a_merchant(merchant_id), {}, {}, TokensView(some))


def _ids(kept: Remembered, among: str) -> str:
    return "".join(merchant_id for merchant_id in among if merchant_id in kept)


def test_the_oldest_is_forgotten_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MERCHANTS", 3)
    kept = Remembered()
    for merchant_id in "abcad":
        kept.put(merchant_id, _view(merchant_id))
    assert ("acd", 3) == (_ids(kept, "abcd"), len(kept))


def test_merchants_that_hold_much_leave_room_for_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "PARTS", 10)
    kept = Remembered()
    for merchant_id in "abcd":
        kept.put(merchant_id, _view(merchant_id))
    assert "abcd" == _ids(kept, "abcd")
    kept.put("e", _view("e", tokens=7))
    assert "cde" == _ids(kept, "abcde")
    kept.put("f", _view("f", tokens=20))
    assert "" == _ids(kept, "abcdef")


def test_what_is_forgotten_leaves_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "PARTS", 10)
    kept = Remembered()
    big, small = _view("big", tokens=8), _view("a")
    kept.put("big", big)
    assert (big, None) == (kept.pop("big"), kept.pop("big"))
    for turn in range(3):
        kept.put("a", small)
        kept.put("big", big)
        assert ([small, big], 0) == (kept.clear(), len(kept)), turn
