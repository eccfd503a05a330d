"""A replica that changes something and advances the anchor, again and again. Arguments: label, database, its name."""

from __future__ import annotations

import sys
from contextlib import closing, suppress
from datetime import timedelta

from service.parts import Clock, Service
from support.databases import Database
from support.softhsm import MODULE_PATH, PIN

from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.module import Module
from keysvc.hsm.token import Token
from keysvc.model.errors import HsmUnavailable
from keysvc.service.anchoring import Anchoring

_TURNS = 6

label, url, name = sys.argv[1:]
with (
    closing(Token(Module(MODULE_PATH), TokenConfig(MODULE_PATH, label, PIN, workers=1, handle_cache=1))) as token,
    closing(Service(Database(url), token, Clock())) as service,
):
    anchoring = Anchoring(service.store, token, service.signer, service.clock, timedelta(minutes=1))
    for turn in range(_TURNS):
        service.add_merchant(f"{name}-{turn}")
        # SoftHSM may refuse to store an object while another is destroyed, or be late: the next turn stores one.
        with suppress(HsmUnavailable):
            anchoring.advance()
