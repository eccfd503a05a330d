"""Whether calls are traced: an extra, whose libraries are loaded only where it is asked for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from keysvc.model.errors import Misconfigured

if TYPE_CHECKING:
    from keysvc.rpc.tracing import Tracing


def exporting() -> AbstractContextManager[Tracing]:
    """What makes a span of each call, and sends them meanwhile. Raises Misconfigured without the extra."""
    try:
        from keysvc.cli import otlp  # noqa: PLC0415 - not installed with every keysvc
    except ImportError:
        raise Misconfigured("KEYSVC_TRACES is on without its libraries: pip install 'keysvc[traces]'") from None
    return otlp.exporting()
