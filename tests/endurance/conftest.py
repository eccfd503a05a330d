"""How long the endurance tests run: a few seconds each in the suite, as long as it takes with KEYSVC_SOAK=1."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each test does."""

    soak: bool
    stress_seconds: float
    rotation_seconds: float
    replicas_seconds: float
    machine_examples: int
    machine_steps: int
    kills: int
    scan_rounds: int
    fuzzed_calls: int
    long_seconds: float
    long_merchants: int
    long_rate: float
    """Steps a second."""
    long_refresh: int
    """Keys made in the token until its module is refreshed."""


SHORT = Sizes(
    False,
    stress_seconds=5,
    rotation_seconds=5,
    replicas_seconds=10,
    machine_examples=12,
    machine_steps=20,
    kills=4,
    scan_rounds=1,
    fuzzed_calls=900,
    long_seconds=3,
    long_merchants=25,
    long_rate=150,
    long_refresh=50,
)
FULL = Sizes(
    True,
    stress_seconds=20,
    rotation_seconds=60,
    replicas_seconds=300,
    machine_examples=200,
    machine_steps=50,
    kills=50,
    scan_rounds=10,
    fuzzed_calls=100_000,
    long_seconds=60 * float(os.environ.get("SOAK_MINUTES", "60")),
    long_merchants=500,
    long_rate=float(os.environ.get("SOAK_RATE", "75")),
    long_refresh=2_000,
)


@pytest.fixture(scope="session")
def sizes() -> Sizes:
    return FULL if os.environ.get("KEYSVC_SOAK") == "1" else SHORT
