"""A bounded cache of unwrapped keys' handles, least recently used first out.

A handle is destroyed when it leaves the cache, or, where a call is using it just then, when that call
gives it back. Thread-safe; the lock is never held while the token is asked.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable

import pkcs11

from keysvc.hsm.keys import handle_of


class Handle:
    """One unwrapped key in the holder session, with the number of calls that use it."""

    __slots__ = ("ident", "key", "out", "users", "value")

    def __init__(self, ident: Hashable, key: pkcs11.SecretKey) -> None:
        self.ident = ident
        self.key = key
        self.value = handle_of(key)
        self.users = 0
        self.out = False


class HandleCache:
    """Handles by the ident of their wrapped key."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._handles: OrderedDict[Hashable, Handle] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._handles)

    def __contains__(self, ident: Hashable) -> bool:
        """As of now: without the lock, and not counted as a look-up."""
        return ident in self._handles

    def borrow(self, ident: Hashable, unwrap: Callable[[], pkcs11.SecretKey]) -> Handle:
        """The key's handle, unwrapped now if it is not there. Give it back after use."""
        with self._lock:
            handle = self._handles.get(ident)
            if handle is not None:
                self._handles.move_to_end(ident)
                handle.users += 1
                self.hits += 1
                return handle
        return self._add(Handle(ident, unwrap()))

    def give_back(self, handle: Handle) -> None:
        with self._lock:
            handle.users -= 1
            unused = handle.out and not handle.users
        if unused:
            _destroy(handle)

    def forget(self, idents: Iterable[Hashable]) -> None:
        """Takes keys that ended out of the cache, and out of the token's memory."""
        with self._lock:
            out = [handle for ident in idents if (handle := self._handles.pop(ident, None))]
            unused = [handle for handle in out if self._retire(handle)]
        for handle in unused:
            _destroy(handle)

    def _add(self, handle: Handle) -> Handle:
        with self._lock:
            self.misses += 1
            winner = self._handles.setdefault(handle.ident, handle)
            self._handles.move_to_end(handle.ident)
            winner.users += 1
            unused = [] if winner is handle else [handle]
            while len(self._handles) > self._capacity:
                _, oldest = self._handles.popitem(last=False)
                if self._retire(oldest):
                    unused.append(oldest)
        for spare in unused:
            _destroy(spare)
        return winner

    @staticmethod
    def _retire(handle: Handle) -> bool:
        handle.out = True
        return not handle.users


def _destroy(handle: Handle) -> None:
    try:
        handle.key.destroy()
    except pkcs11.PKCS11Error:
        # The session object is gone already: the token was reset, and took it along.
        return
