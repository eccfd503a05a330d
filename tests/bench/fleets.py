"""Homes on PostgreSQL with few merchants and with very many, for what is measured of both."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.postgres import Postgres

from bench.cores import Cores
from bench.figures import Plan, Steps
from bench.known_keys import KnownKey, read_key
from bench.load import Question, Target
from bench.multiply import PASSWORD, multiply
from bench.questions import merchant_id, message_for
from bench.servers import keysvc
from keysvc.model.names import CredentialName
from keysvc.model.slots import Slot

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    """A home and a database with so many merchants."""

    home: Path
    url: str
    numbers: range
    callers: int

    @contextmanager
    def server(self, cores: Cores) -> Iterator[Target]:
        with keysvc(self.home, cores, KEYSVC_DATABASE_URL=self.url) as target:
            yield target

    def questions(self, numbers: range) -> list[Question]:
        """VerifyHmac of each of these merchants, with the answer VALID."""
        key = read_key(self.home)
        return [_verification(merchant_id(number), key) for number in numbers]


def few_and_many(home: Path, plan: Plan, cores: Cores, steps: Steps, postgres: Postgres) -> tuple[Fleet, Fleet]:
    def made(numbers: range, callers: int) -> Fleet:
        size = len(numbers)
        fleet = Fleet(home.with_name(f"of-{size}"), postgres.new_database(), numbers, callers)
        done = steps.begin(f"K: making {size:,} merchants", size)
        multiply(fleet.home, fleet.url, numbers, callers, cores, done)
        return fleet

    return made(range(0, plan.most, plan.most // plan.few), 1), made(range(plan.most), plan.callers)


def basic(principal_id: str) -> Headers:
    return (("authorization", f"Basic {base64.b64encode(f'{principal_id}:{PASSWORD}'.encode()).decode()}"),)


def _verification(merchant: str, key: bytes) -> Question:
    return KnownKey(str(CredentialName(merchant, Slot.PRIMARY_HMAC_KEY)), key).verification(message_for(merchant))
