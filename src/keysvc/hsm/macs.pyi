"""What macs.c has."""

from collections.abc import Iterable

def sign_each(
    sign_init: int, sign: int, holding: bool, session: int, mechanism: int, key: int, messages: Iterable[bytes], /
) -> list[bytes] | int:
    """The MAC of each message; or the code of the first call that did not answer CKR_OK.

    `sign_init` and `sign` are the addresses of C_SignInit and C_Sign. `holding` keeps the GIL while the token works,
    but for messages of more than 64 KiB. Raises TypeError for what is no bytes.
    """
