"""A page of a list, as every List rpc answers it (AIP-158)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from keysvc.model import paging
from keysvc.rpc.convert import sized

R = TypeVar("R")


class Paged(Protocol):
    """A request for a page."""

    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many a page has where the request says none, and at most."""

    default: int
    most: int


def page_of(
    request: Paged,
    list_name: str,
    sizes: Sizes,
    fetch: Callable[[str | None, int], Sequence[R]],
    id_of: Callable[[R], str],
) -> tuple[Sequence[R], str]:
    """(the page, the token of the next or nothing). `fetch` is given the id to start after, and how many to get.

    `list_name` names the rpc and the parent: a token is of this very list. Raises InvalidField.
    """
    size = paging.page_size(request.page_size, sizes.default, sizes.most)
    after = paging.decode_page_token(list_name, sized(request.page_token, "page_token"))
    found = fetch(after, size + 1)  # one more tells whether there is a next page
    page = found[:size]
    return page, paging.encode_page_token(list_name, id_of(page[-1])) if len(found) > size else ""
