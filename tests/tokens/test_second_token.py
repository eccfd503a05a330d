"""The tests of the token, once more with openCryptoki, in a pytest of their own: it cannot share SoftHSM's process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import opencryptoki

TESTS = Path(__file__).parents[1]
SECONDS = 240.0
AT_LEAST = 200


def test_what_holds_for_any_token_holds_for_opencryptoki() -> None:
    """And so does the service on it, from `keysvc init` to a restart."""
    reason = opencryptoki.why_not()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    places = [str(TESTS / "hsm"), str(TESTS / "cli" / "test_opencryptoki.py")]
    options = ["--token", "opencryptoki", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        opencryptoki.command(sys.executable, "-m", "pytest", *options, *places),
        env=opencryptoki.environment(), cwd=TESTS.parent, capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= AT_LEAST, done.stdout[-500:]
    assert "skipped" not in done.stdout
