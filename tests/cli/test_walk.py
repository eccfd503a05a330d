"""A walk through a double run: what it does, where it stops, and what others do meanwhile."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from support.asking import ask, slot_of, verify_key
from support.server import Client, DevServer

from cli.walking import PRIMARY, SECONDARY, Asked, HmacKey, created, plan_for, renewed, state_of, walk
from keysvc.cli import walk as walk_module
from keysvc.cli.remote import Stopped
from keysvc.client import Kind
from keysvc.model.errors import Misconfigured

SOON = timedelta(milliseconds=1)
"""A key that ends must have been unused for so long, and for the two seconds that a use may be late."""


def test_the_new_key_is_like_the_other(server: DevServer, client: Client, merchant: str, tmp_path: Path) -> None:
    """Clients take the form and the algorithm that they know."""
    ask(
        client, "CreateCredential",
        name=slot_of(merchant, PRIMARY), secret_format="WHSEC", hmac_algorithm="HMAC_SHA512",
    )  # fmt: skip
    with pytest.raises(Stopped):
        walk(server, plan_for(merchant, secret_file=tmp_path / "secret"))
    assert (tmp_path / "secret").read_text().startswith("whsec_")
    made = ask(client, "GetCredential", name=slot_of(merchant, SECONDARY))
    assert ("WHSEC", "HMAC_SHA512") == (
        type(made).SecretFormat.Name(made.secret_format),
        type(made).HmacAlgorithm.Name(made.hmac_algorithm),
    )


def test_the_new_key_of_one_that_only_verifies_can_sign(
    server: DevServer, client: Client, merchant: str, tmp_path: Path
) -> None:
    """HMAC_SHA1 is for import only."""
    ask(
        client, "ImportCredential",
        name=slot_of(merchant, PRIMARY), secret="ab" * 20, secret_format="HEX", hmac_algorithm="HMAC_SHA1",
    )  # fmt: skip
    with pytest.raises(Stopped):
        walk(server, plan_for(merchant, secret_file=tmp_path / "secret"))
    made = ask(client, "GetCredential", name=slot_of(merchant, SECONDARY))
    assert "HMAC_SHA256" == type(made).HmacAlgorithm.Name(made.hmac_algorithm)


def test_the_bearer_pair(
    server: DevServer, client: Client, merchant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is signed with API keys, and the old one was never used: one run does it."""
    made = ask(client, "CreateCredential", name=slot_of(merchant, "primary-rest-api-key"))
    walk(server, plan_for(merchant, kind=Kind.BEARER_SECRET, secret_file=tmp_path / "secret"))
    assert f"done: {merchant}/credentials/primary-rest-api-key version 2 is the only key" in capsys.readouterr().out
    assert "VALID" == verify_key(client, merchant, (tmp_path / "secret").read_text())
    assert "INVALID" == verify_key(client, merchant, made.secret.value)


def test_an_empty_pair_gets_its_first_key(server: DevServer, client: Client, merchant: str, tmp_path: Path) -> None:
    walk(server, plan_for(merchant, secret_file=tmp_path / "secret"))
    assert "VALID" == HmacKey(client, merchant, (tmp_path / "secret").read_text()).use()
    assert "EMPTY" == state_of(client, merchant, SECONDARY)


@pytest.mark.parametrize("there", ["a file", "a directory", "no directory for it", "nothing is named"])
def test_nothing_is_created_where_its_secret_would_have_no_place(
    server: DevServer, client: Client, merchant: str, tmp_path: Path, there: str
) -> None:
    files = {
        "a file": tmp_path / "file",
        "a directory": tmp_path,
        "no directory for it": tmp_path / "none" / "secret",
        "nothing is named": None,
    }
    (tmp_path / "file").write_text("of another rotation")
    created(client, merchant)
    with pytest.raises(Misconfigured, match=r"--secret-file|Cannot write"):
        walk(server, plan_for(merchant, secret_file=files[there]))
    assert "EMPTY" == state_of(client, merchant, SECONDARY)
    assert "of another rotation" == (tmp_path / "file").read_text()
    assert ["file"] == [path.name for path in tmp_path.iterdir()]


def test_a_secret_that_could_not_be_kept_is_told_as_lost(tmp_path: Path) -> None:
    """The disk may be full only now. The key is there, and nobody has it."""
    with pytest.raises(Misconfigured, match="is lost: revoke that key, and run this again") as told:
        walk_module._write(tmp_path / "gone" / "file", "the secret itself", SECONDARY)
    assert "the secret itself" not in told.value.message


def test_going_on_needs_no_place_for_a_secret(server: DevServer, client: Client, merchant: str) -> None:
    created(client, merchant)
    new = created(client, merchant, SECONDARY)
    new.use()
    walk(server, plan_for(merchant))
    assert ("VALID", True) == (new.use(), new.signs())
    assert "INACTIVE" == state_of(client, merchant, SECONDARY)


def test_receivers_that_have_the_key_cannot_be_seen_and_can_be_vouched_for(
    server: DevServer, client: Client, merchant: str
) -> None:
    old = created(client, merchant)
    old.use()
    new = created(client, merchant, SECONDARY)
    with pytest.raises(Stopped, match="to swap the two keys"):
        walk(server, plan_for(merchant))
    assert not new.signs()
    with pytest.raises(Stopped, match="to revoke secondary-hmac-key"):  # which nobody can vouch for
        walk(server, plan_for(merchant, receivers_ready=True))
    assert new.signs()


def test_it_waits_for_the_first_use(
    server: DevServer, client: Client, merchant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    created(client, merchant)
    new = created(client, merchant, SECONDARY)
    client_moves = threading.Timer(0.5, new.use)
    client_moves.start()
    walk(server, plan_for(merchant, wait=15.0))
    client_moves.join()
    lines = capsys.readouterr().out.splitlines()
    assert f"{SECONDARY} version 1 (new): 0 calls" == lines[1]
    assert lines[2].startswith("waiting to: swap the two keys")
    assert f"{SECONDARY} version 1 (new): 1 call" in lines[3:]
    assert f"swapped: {merchant}/credentials/{PRIMARY} is now version 2" in lines


def test_a_key_that_is_used_in_the_last_moment_lives_on_until_it_is_not(
    server: DevServer, client: Client, merchant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old = created(client, merchant)
    created(client, merchant, SECONDARY).use()
    asked = Asked("revoke", old.use)
    walk(server, plan_for(merchant, unused_for=SOON, wait=15.0, confirm=asked))
    assert [f"Now {what}?" for what in ("swap the two keys", f"revoke {SECONDARY}", f"revoke {SECONDARY}")] == (
        asked.questions
    )
    told = capsys.readouterr().out
    assert f"{merchant}/credentials/{SECONDARY} was last used at" in told
    assert f"waiting to: revoke {SECONDARY}" in told
    assert "INVALID" == old.use()


def swap(client: Client, merchant: str) -> None:
    ask(client, "SwapCredentials", name=merchant, kind="HMAC_KEY")


def test_a_swap_that_somebody_else_did_is_not_undone(
    server: DevServer, client: Client, merchant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    created(client, merchant)
    new = created(client, merchant, SECONDARY)
    new.use()
    asked = Asked("swap", lambda: swap(client, merchant))
    walk(server, plan_for(merchant, confirm=asked))
    assert ["Now swap the two keys?", f"Now revoke {SECONDARY}?"] == asked.questions
    assert "has changed since you read it" in capsys.readouterr().out
    assert ("VALID", True) == (new.use(), new.signs())


def test_a_key_that_was_moved_to_the_slot_is_not_revoked_in_the_place_of_the_old_one(
    server: DevServer, client: Client, merchant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old = created(client, merchant)
    new = created(client, merchant, SECONDARY)
    swap(client, merchant)
    asked = Asked("revoke", lambda: swap(client, merchant))
    walk(server, plan_for(merchant, receivers_ready=True, confirm=asked))
    assert [f"Now revoke {SECONDARY}?", "Now swap the two keys?", f"Now revoke {SECONDARY}?"] == asked.questions
    assert "the keys have changed since: looking again" in capsys.readouterr().out
    assert ("INVALID", "VALID") == (old.use(), new.use())


def test_an_overlap_in_one_slot_is_ended_and_no_double_run_begun(
    server: DevServer, client: Client, merchant: str
) -> None:
    old = created(client, merchant)
    new = renewed(client, merchant, 3600)
    asked = Asked()
    walk(server, plan_for(merchant, confirm=asked))
    assert [f"Now revoke version 1 of {PRIMARY}?"] == asked.questions
    assert ("INVALID", "VALID") == (old.use(), new.use())


def test_an_overlap_may_end_by_itself_while_it_is_watched(server: DevServer, client: Client, merchant: str) -> None:
    old = created(client, merchant)
    renewed(client, merchant, 3)
    assert "VALID" == old.use()
    asked = Asked()
    walk(server, plan_for(merchant, wait=15.0, confirm=asked))
    assert [] == asked.questions


def test_a_retiring_key_that_is_still_used_does_not_begin_the_next_double_run(
    server: DevServer, client: Client, merchant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the secondary revoked there is room for a new key, and creating is safe. It is not what was asked for."""
    retiring = created(client, merchant)
    renewed(client, merchant, 3600)
    retiring.use()
    created(client, merchant, SECONDARY).use()
    with pytest.raises(Stopped, match=f"revoke version 1 of {PRIMARY}"):
        walk(server, plan_for(merchant))
    told = capsys.readouterr().out
    assert f"revoked {SECONDARY}" in told
    assert "created" not in told


def test_a_slot_is_not_revoked_while_a_retiring_key_in_it_is_used(
    server: DevServer, client: Client, merchant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would end with the slot's own, which nobody uses."""
    retiring = created(client, merchant, SECONDARY)
    renewed(client, merchant, 3600, SECONDARY)
    new = created(client, merchant)
    retiring.use()
    with pytest.raises(Stopped, match=f"revoke {SECONDARY}. Last used at"):
        walk(server, plan_for(merchant))
    assert ("VALID", True) == (retiring.use(), new.signs())
    assert "was last used" not in capsys.readouterr().out  # nothing was tried that the service had to refuse


def test_receivers_are_not_taken_to_have_a_key_that_was_made_just_now(
    server: DevServer, client: Client, merchant: str, tmp_path: Path
) -> None:
    old = created(client, merchant)
    plan = plan_for(merchant, receivers_ready=True, secret_file=tmp_path / "secret")
    with pytest.raises(Stopped, match="not safe yet to swap"):
        walk(server, plan)
    assert old.signs()
    with pytest.raises(Stopped, match="not safe yet to revoke"):
        walk(server, plan)
    assert not old.signs()


def test_it_is_not_done_where_the_new_key_was_revoked_meanwhile(
    server: DevServer, client: Client, merchant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old = created(client, merchant)
    new = created(client, merchant, SECONDARY)
    new.use()
    revoke = Asked("swap", lambda: ask(client, "RevokeCredential", name=slot_of(merchant, SECONDARY)))
    with pytest.raises(Stopped, match="the new key was revoked meanwhile"):
        walk(server, plan_for(merchant, confirm=revoke))
    assert "done" not in capsys.readouterr().out
    assert old.signs()
