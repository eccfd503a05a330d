"""Merchants as their owner sees them: another's is as one that is not there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keysvc.model.principals import PrincipalKind
from keysvc.store.queries import Owner
from keysvc.store.store import Store
from store.records import a_merchant

PSP, ACQUIRER = PrincipalKind.PSP, PrincipalKind.ACQUIRER
OWNERS: dict[str, tuple[str | None, str | None]] = {
    "a": ("PSP_42", None),
    "b": (None, "PSP_42"),
    "c": ("PSP_42", "ACQ_7"),
    "d": ("PSP_4", "ACQ_7"),
    "e": (None, None),
    "f": ("psp_42", "acq_7"),
    "g": ("PSP_42", "PSP_42"),
}
"""By merchant: its PSP and its acquirer. One id may be of a PSP and of an acquirer."""
OWNED = [
    (Owner(PSP, "PSP_42"), ["a", "c", "g"]),
    (Owner(PSP, "PSP_4"), ["d"]),
    (Owner(PSP, "psp_42"), ["f"]),
    (Owner(PSP, "ACQ_7"), []),
    (Owner(PSP, ""), []),
    (Owner(PSP, "PSP%"), []),
    (Owner(PSP, "a"), []),
    (Owner(ACQUIRER, "ACQ_7"), ["c", "d"]),
    (Owner(ACQUIRER, "PSP_42"), ["b", "g"]),
    (Owner(ACQUIRER, "None"), []),
]


@pytest.fixture(autouse=True)
def merchants(store: Store) -> None:
    with store.change() as change:
        for merchant_id, (psp, acquirer) in OWNERS.items():
            change.add_merchant(replace(a_merchant(merchant_id), psp=psp, acquirer=acquirer))


def test_an_owner_finds_each_of_its_own_and_none_of_anothers(store: Store) -> None:
    for owner, owned in OWNED:
        for merchant_id, (psp, acquirer) in OWNERS.items():
            expected = replace(a_merchant(merchant_id), psp=psp, acquirer=acquirer) if merchant_id in owned else None
            assert (owner, expected) == (owner, store.owned_merchant(owner, merchant_id))
        assert (owner, None) == (owner, store.owned_merchant(owner, "nobody"))


def test_an_owners_list_is_of_its_own(store: Store) -> None:
    for owner, owned in OWNED:
        found = store.merchants(None, 100, owner)
        assert (owner, owned) == (owner, [merchant.merchant_id for merchant in found])


def test_a_list_without_an_owner_is_of_all(store: Store) -> None:
    assert list(OWNERS) == [merchant.merchant_id for merchant in store.merchants(None, 100)]


def test_an_owners_pages_are_full_and_hold_each_of_its_own_once(store: Store) -> None:
    owner = Owner(PSP, "PSP_42")
    pages, after = [], None
    while page := store.merchants(after, 2, owner):
        pages.append([merchant.merchant_id for merchant in page])
        after = pages[-1][-1]
    assert [["a", "c"], ["g"]] == pages


def test_an_owners_page_starts_after_anothers_merchant_as_well(store: Store) -> None:
    """A page's place is an id, whoever's it is by now."""
    assert ["g"] == [merchant.merchant_id for merchant in store.merchants("d", 2, Owner(PSP, "PSP_42"))]


def test_a_merchant_that_changes_hands_is_found_by_its_new_owner_alone(store: Store) -> None:
    with store.change() as change:
        change.put_merchant(replace(a_merchant("a"), psp="PSP_4"))
    assert store.owned_merchant(Owner(PSP, "PSP_42"), "a") is None
    assert store.owned_merchant(Owner(PSP, "PSP_4"), "a") is not None
    assert ["a", "d"] == [merchant.merchant_id for merchant in store.merchants(None, 10, Owner(PSP, "PSP_4"))]


@pytest.mark.parametrize("kind", [kind for kind in PrincipalKind if kind not in (PSP, ACQUIRER)])
def test_no_other_kind_owns_merchants(store: Store, kind: PrincipalKind) -> None:
    with pytest.raises(KeyError):
        store.merchants(None, 10, Owner(kind, "PSP_42"))
