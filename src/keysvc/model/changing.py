"""Rules that changes share: how long secrets overlap, how long a key must have been unused, and etags."""

from __future__ import annotations

from datetime import timedelta

from keysvc.model.errors import EtagMismatch, InvalidField

MAX_PREVIOUS_TTL = timedelta(days=30)
LONGEST = timedelta(days=3650)
"""Of any length of time that a caller names: ten years."""
MAX_RETIRING = 5
"""Secrets that may work beside the current one of a slot or a principal."""
_NONE = timedelta()


def check_previous_ttl(previous_ttl: timedelta) -> None:
    """Raises InvalidField for an overlap that is negative, or too long."""
    if not _NONE <= previous_ttl <= MAX_PREVIOUS_TTL:
        raise InvalidField("previous_ttl", f"must be from 0 to {MAX_PREVIOUS_TTL.days} days")


def check_etag(etag: str, current: str, resource: str) -> None:
    """Raises EtagMismatch where the caller read another state than the current one. No etag asks for no check."""
    if etag and etag != current:
        raise EtagMismatch(
            f"{resource} has changed since you read it: get it again, and decide anew", resource=resource
        )


def check_span(span: timedelta, field: str) -> timedelta:
    """Returns it; raises InvalidField for a length of time that is negative, or too long."""
    if not _NONE <= span <= LONGEST:
        raise InvalidField(field, f"must be from 0 to {LONGEST.days} days")
    return span
