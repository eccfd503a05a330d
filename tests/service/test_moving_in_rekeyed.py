"""Files that come again after the wrapping key was replaced: what is there is still found to be there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.databases import Database
from support.softhsm import Tokens

from keysvc.model.hsm_keys import Purpose
from keysvc.model.names import CredentialName
from keysvc.service.material import Maker, offered, recipe
from service.parts import AES, HMAC, Clock
from service.test_moving_in import KEY, OTHER, entry, every_kind, taken
from service.test_rekeying import World

NAME = CredentialName("new", HMAC)


@pytest.fixture
def world(tokens: Tokens, database: Database, clock: Clock) -> Iterator[World]:
    made = World(tokens, tokens.with_keys(), database, clock)
    yield made
    made.close()


def test_keys_are_compared_in_the_token_where_they_were_wrapped_by_different_keys(world: World) -> None:
    assert {"CREATED"} == {result for _, result, _ in taken(world.service, *every_kind(world.token))}
    wanted = offered(NAME, recipe(NAME, None, None), KEY, allow_weak=False)
    (older,) = Maker(world.token, world.service.digester).adopt_each([wanted])
    world.agree(Purpose.WRAPPING)
    world.make(Purpose.WRAPPING, 2)
    world.rekeying(Purpose.WRAPPING).put_into_use()
    maker = Maker(world.token, world.service.digester)
    assert [False, True] == [maker.is_newest(older), maker.is_newest(*maker.adopt_each([wanted]))]
    assert {"ALREADY_THERE"} == {result for _, result, _ in taken(world.service, *every_kind(world.token))}
    assert {1} == {key.generation for keys in world.service.holdings("a").keys.values() for key in keys}
    others = [entry(1, "a", HMAC, OTHER), entry(2, "a", AES, KEY)]
    assert {"SLOT_OCCUPIED"} == {reason for _, _, reason in taken(world.service, *others)}
    assert [(1, "CREATED", "")] == taken(world.service, entry(1, "new"))
    assert [2] == [key.generation for key in world.service.holdings("new").keys[HMAC]]
