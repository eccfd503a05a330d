"""`keysvc serve --workers N`: settings are checked and ports kept, then the workers are started and watched."""

from __future__ import annotations

from contextlib import ExitStack

from keysvc.cli import cores, wiring, worker
from keysvc.cli.ports import reserved
from keysvc.cli.settings import MAX_PORT, Settings
from keysvc.cli.supervisor import Supervisor
from keysvc.cli.wiring import Ready
from keysvc.cli.worker import Worker
from keysvc.model.errors import Misconfigured

_END_SECONDS = 30.0
"""For a worker to end, beside its delay: calls in flight, uses that are written down, the last spans."""


def serve(settings: Settings, workers: int, ready: Ready) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code. SIGHUP starts the workers anew. Raises Misconfigured."""
    wiring.check(settings)
    with ExitStack() as stack:
        own = {"KEYSVC_LISTEN": stack.enter_context(reserved(settings.listen, "KEYSVC_LISTEN"))}
        if settings.mtls_listen is not None:
            own["KEYSVC_MTLS_LISTEN"] = stack.enter_context(reserved(settings.mtls_listen, "KEYSVC_MTLS_LISTEN"))
        metrics = [_metrics(settings.metrics_listen, number) for number in range(1, workers + 1)]

        def start(number: int) -> Worker:
            started = worker.start(number, {**own, **metrics[number - 1]})
            cores.keep(started.process.pid, number, workers)
            return started

        supervisor = Supervisor(start, workers, settings.drain_delay + _END_SECONDS)
        return supervisor.run(lambda: ready(own["KEYSVC_LISTEN"], own.get("KEYSVC_MTLS_LISTEN")))


def _metrics(listen: str | None, number: int) -> dict[str, str]:
    """The first worker's are at the address itself, the next one's at the port after it, and so on."""
    if listen is None:
        return {}
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) + number - 1 > MAX_PORT:
        raise Misconfigured(
            f"KEYSVC_METRICS_LISTEN is {listen}: write HOST:PORT, with a port for each worker from there up"
        )
    return {"KEYSVC_METRICS_LISTEN": listen if port == "0" else f"{host}:{int(port) + number - 1}"}
