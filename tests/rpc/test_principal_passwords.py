"""Principals' passwords: shown once, renewed at once or with an overlap, and kept nowhere."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from support.asking import ask, refused
from support.principals import Principals, create, events_of, let_in, name_of, renew, update
from support.server import Client, DevServer, Refusal
from support.waiting import until

Code = grpc.StatusCode
DAY = 86400
MAX_RETIRING = 5
RETIRING_SECONDS = 2


def get(client: Client, principal_id: str) -> Any:
    return ask(client, "GetPrincipal", name=name_of(principal_id))


def assert_names_field(told: Refusal, *fields: str) -> None:
    assert (Code.INVALID_ARGUMENT, "INVALID_FIELD", list(fields)) == (told.code, told.reason, told.fields)


def told_of(told: Refusal) -> tuple[Code, str]:
    return told.code, told.reason


def test_a_renewed_password_ends_the_old_one_at_once(client: Client, principals: Principals) -> None:
    principal_id, old = principals.make("PSP")
    assert let_in(old)
    made = renew(client, principal_id)
    assert not let_in(old)
    assert let_in(principals.client(principal_id, made.password))
    assert made.principal.password_time.ToDatetime() > made.principal.create_time.ToDatetime()
    assert [] == list(made.principal.retiring_password_times)


def test_an_old_password_works_until_its_overlap_ends_and_no_longer(client: Client, principals: Principals) -> None:
    """Also one that was in use all the time, whose proof is remembered."""
    principal_id, old = principals.make("PSP")
    assert let_in(old)
    made = renew(client, principal_id, RETIRING_SECONDS)
    [ends] = made.principal.retiring_password_times
    assert RETIRING_SECONDS == (ends.ToDatetime() - made.principal.password_time.ToDatetime()).total_seconds()
    refused_at = allowed_at = 0.0
    until_when = ends.ToMicroseconds() / 1_000_000
    while time.time() < until_when + 0.5:
        at = time.time()
        if let_in(old):
            allowed_at = at
        else:
            refused_at = refused_at or time.time()
        time.sleep(0.02)
    assert until_when - 0.5 < allowed_at < until_when <= refused_at
    assert let_in(principals.client(principal_id, made.password))


def test_a_password_renewed_without_overlap_ends_every_older_one(client: Client, principals: Principals) -> None:
    principal_id, first = principals.make("PSP")
    second = principals.client(principal_id, renew(client, principal_id, DAY).password)
    third = principals.client(principal_id, renew(client, principal_id).password)
    assert [False, False, True] == [let_in(caller) for caller in (first, second, third)]


def test_five_passwords_may_retire_and_not_six(client: Client, principals: Principals) -> None:
    principal_id, first = principals.make("PSP")
    for number in range(MAX_RETIRING):
        made = renew(client, principal_id, DAY + number)
    times = [each.ToMicroseconds() for each in made.principal.retiring_password_times]
    assert (MAX_RETIRING, sorted(times, reverse=True)) == (len(times), times)
    before = get(client, principal_id)
    told = refused(
        client, "RenewPrincipalPassword", name=name_of(principal_id), previous_ttl=Duration(seconds=DAY)
    )  # fmt: skip
    assert (Code.FAILED_PRECONDITION, "TOO_MANY_RETIRING") == told_of(told)
    assert before == get(client, principal_id)
    assert let_in(first)
    assert let_in(principals.client(principal_id, made.password))
    renew(client, principal_id)


@pytest.mark.parametrize(
    "ttl",
    [
        Duration(seconds=-1), Duration(nanos=-1000), Duration(seconds=30 * DAY + 1), Duration(seconds=2**63 - 1),
        Duration(seconds=1, nanos=-1), Duration(seconds=1, nanos=2_000_000_000),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_overlap_is_refused(client: Client, principals: Principals, ttl: Duration) -> None:
    principal_id, caller = principals.make("PSP")
    told = refused(client, "RenewPrincipalPassword", name=name_of(principal_id), previous_ttl=ttl)
    assert_names_field(told, "previous_ttl")
    assert let_in(caller)


def test_a_repeated_request_renews_once_and_shows_no_password_again(client: Client, principals: Principals) -> None:
    principal_id, _ = principals.make("PSP")
    request_id = principals.id()
    made = renew(client, principal_id, request_id=request_id)
    told = refused(client, "RenewPrincipalPassword", name=name_of(principal_id), request_id=request_id)
    assert (Code.ALREADY_EXISTS, "REQUEST_ALREADY_DONE") == told_of(told)
    assert name_of(principal_id) == told.info.metadata["resource"]
    assert made.password.encode() not in told.raw
    assert let_in(principals.client(principal_id, made.password))
    told = refused(client, "RenewPrincipalPassword", name=name_of(principal_id), request_id="no id!")
    assert_names_field(told, "request_id")


def test_a_password_may_be_renewed_while_its_principal_is_disabled(client: Client, principals: Principals) -> None:
    """For the case that it leaked: nobody is let in until both are done."""
    principal_id, old = principals.make("PSP")
    ask(client, "DisablePrincipal", name=name_of(principal_id))
    new = principals.client(principal_id, renew(client, principal_id).password)
    assert not let_in(new)
    update(client, principal_id, state="ACTIVE")
    assert [False, True] == [let_in(old), let_in(new)]


def test_a_password_stands_in_the_answer_that_made_it_and_nowhere_else(
    server: DevServer, client: Client, principals: Principals
) -> None:
    principal_id = principals.id()
    passwords = [create(client, principal_id, "PSP"), renew(client, principal_id, DAY).password]
    caller = principals.client(principal_id, passwords[1])
    assert let_in(caller)
    refused(caller, "ListPrincipals")
    told = [get(client, principal_id), update(client, principal_id, remote_access=True)]
    told += [ask(client, "ListPrincipals", page_size=1000), ask(client, "DisablePrincipal", name=name_of(principal_id))]
    told += events_of(client, name_of(principal_id))
    until(lambda: principal_id in server.log.read_text())
    files = [path.read_bytes() for path in server.home.rglob("*") if path.is_file()]
    kept = [*(message.SerializeToString() for message in told), server.log.read_bytes(), *files]
    for password in passwords:
        shapes = [password.encode(), password.lower().encode(), bytes.fromhex(password)]
        assert [] == [shape for shape in shapes for each in kept if shape in each]
