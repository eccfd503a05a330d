"""What tests of `keysvc rotate` and `keysvc status` share: both in this process, and keys with who uses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from support.asking import ask, result_of, slot_of
from support.outside import key_of, mac_of
from support.server import Client as Caller
from support.server import DevServer
from typer.testing import CliRunner, Result

from keysvc.cli.commands import app
from keysvc.cli.walk import Plan, Walk
from keysvc.client import Basic, Client, Kind

PRIMARY, SECONDARY = "primary-hmac-key", "secondary-hmac-key"


def agree(_question: str) -> bool:
    return True


PLAN = Plan(
    name="",
    kind=Kind.HMAC_KEY,
    unused_for=timedelta(hours=24),
    secret_file=None,
    receivers_ready=False,
    wait=0.0,
    watched=False,
    confirm=agree,
)


def settings_of(server: DevServer) -> dict[str, str]:
    return {"KEYSVC_HOME": str(server.home), "KEYSVC_ADDRESS": server.address}


def walk(server: DevServer, plan: Plan) -> None:
    """One walk to its end, without a process of its own."""
    with Client(server.address, Basic.from_file(server.home / "admin-credentials")) as client:
        Walk(client, plan).go()


def plan_for(merchant: str, **changes: object) -> Plan:
    return replace(PLAN, name=merchant, **changes)  # type: ignore[arg-type]


def invoke(settings: dict[str, str], *arguments: str) -> Result:
    """A command whose output is no terminal. An error that the program would tell is its `exception`."""
    return CliRunner().invoke(app, arguments, env=settings)


class Asked:
    """Agrees to every question, and notes it. `meanwhile` happens first, once, at a question with `word` in it."""

    def __init__(self, word: str = "\0", meanwhile: Callable[[], object] = lambda: None) -> None:
        self.questions: list[str] = []
        self._word = word
        self._meanwhile: Callable[[], object] | None = meanwhile

    def __call__(self, question: str) -> bool:
        self.questions.append(question)
        if self._word in question and self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        return True


class HmacKey:
    """A key that a test knows, and how a client of the merchant's uses it."""

    def __init__(self, caller: Caller, merchant: str, secret: str, secret_format: str = "HEX") -> None:
        self._caller = caller
        self._merchant = merchant
        self._key = key_of(secret, secret_format)

    def use(self) -> str:
        """What a verification of its MAC finds."""
        mac = mac_of(self._key, b"m")
        return result_of(ask(self._caller, "VerifyHmac", name=self._merchant, message=b"m", mac=mac))

    def signs(self) -> bool:
        """Whether it signs what is asked for by the merchant's name."""
        return bool(ask(self._caller, "GenerateHmac", name=self._merchant, message=b"m").mac == mac_of(self._key, b"m"))


def created(caller: Caller, merchant: str, slot: str = PRIMARY) -> HmacKey:
    made = ask(caller, "CreateCredential", name=slot_of(merchant, slot))
    return HmacKey(caller, merchant, made.secret.value)


def renewed(caller: Caller, merchant: str, seconds: int, slot: str = PRIMARY) -> HmacKey:
    """The slot's new key; the old one retires for so long."""
    made = ask(caller, "RenewCredential", name=slot_of(merchant, slot), previous_ttl={"seconds": seconds})
    return HmacKey(caller, merchant, made.secret.value)


def state_of(caller: Caller, merchant: str, slot: str) -> str:
    credential = ask(caller, "GetCredential", name=slot_of(merchant, slot))
    return str(type(credential).State.Name(credential.state))
