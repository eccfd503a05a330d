"""Another commit's tree, so that what was before can be measured beside what is."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from bench.servers import THIS_TREE, Source

_GIT = ("git", "-C", str(THIS_TREE.root))


def is_here(commit: str) -> bool:
    """A clone may be shallow, or these files may be no clone at all."""
    try:
        subprocess.run([*_GIT, "cat-file", "-e", f"{commit}^{{commit}}"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def checked_out(commit: str, directory: Path) -> Source:
    """The commit's files under `directory`; the working tree is left alone."""
    archive = subprocess.run([*_GIT, "archive", commit], check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    return Source(directory)
