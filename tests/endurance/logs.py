"""What a server wrote of trouble."""

from __future__ import annotations

from support.server import DevServer

_TROUBLE = ("[warning", "[error", "[critical", "Traceback", "Exception", "Segmentation")


def trouble_in(server: DevServer) -> list[str]:
    """The lines of its log that tell of trouble."""
    return [line for line in server.log.read_text().splitlines() if any(word in line for word in _TROUBLE)]
