"""What carries a MAC by the token's row key."""

from __future__ import annotations

from keysvc.model.hsm_keys import HsmKeyRecord
from keysvc.model.principals import PrincipalRecord
from keysvc.model.records import KeyRecord, MerchantRecord, SlotRecord, TokenSetRecord

Sealed = MerchantRecord | SlotRecord | KeyRecord | TokenSetRecord | PrincipalRecord | HsmKeyRecord
"""Any record that decides who or what is accepted."""
