"""Another commit's tree, so that what was before can be measured beside what is."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from bench.servers import THIS_TREE, Source


class NoSuchCommit(RuntimeError):
    """This clone does not have it: it may be shallow, or no clone at all."""


def checked_out(commit: str, directory: Path) -> Source:
    """The commit's files under `directory`; the working tree is left alone. Raises NoSuchCommit."""
    command = ["git", "-C", str(THIS_TREE.root), "archive", commit]
    try:
        archive = subprocess.run(command, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise NoSuchCommit(f"git has no commit {commit} here: fetch it, or name another with --before") from None
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    return Source(directory)
