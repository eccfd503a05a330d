"""The script that copies secrets, run as a pod runs it: over a directory such as Kubernetes makes for a secret."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from support.waiting import until

from deployment import manifests
from keysvc.cli.files import read_private


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    directory = tmp_path / "copying"
    directory.mkdir()
    for name, text in manifests.named("ConfigMap", "keysvc-private-files")["data"].items():
        (directory / name).write_text(text)
    return directory


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    directory = tmp_path / "shown"
    directory.mkdir()
    return directory


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Open to everybody, as a volume in memory is."""
    directory = tmp_path / "private"
    directory.mkdir()
    directory.chmod(0o777)
    return directory


def show(directory: Path, version: str, **files: str) -> None:
    """As the kubelet does: names are links through one link, which is turned to a new directory."""
    newest = directory / f"..{version}"
    newest.mkdir()
    turned = directory / "..data.new"
    turned.symlink_to(newest.name)
    for name, text in files.items():
        (newest / name).write_text(text)
        (newest / name).chmod(0o444)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    turned.replace(directory / "..data")


def copy(scripts: Path, shown: Path, private: Path) -> int:
    return subprocess.run(["sh", scripts / "copy", shown, private], check=False, capture_output=True).returncode


def test_copies_are_files_that_keysvc_takes(scripts: Path, shown: Path, private: Path) -> None:
    show(shown, "1", pin="1234", pgpass="db:5432:keysvc:keysvc:secret")
    assert 0 == copy(scripts, shown, private)
    assert ["pgpass", "pin"] == sorted(path.name for path in private.iterdir())
    assert b"1234" == read_private(private / "pin", "PIN file", "KEYSVC_PIN_FILE")
    assert 0o100600 == (private / "pgpass").lstat().st_mode


def test_what_changed_is_replaced_whole_and_what_did_not_is_left(scripts: Path, shown: Path, private: Path) -> None:
    show(shown, "1", pin="1234", key="old")
    copy(scripts, shown, private)
    before = {name: (private / name).stat().st_ino for name in ("pin", "key")}
    with (private / "key").open() as reader:
        show(shown, "2", pin="1234", key="new")
        assert 0 == copy(scripts, shown, private)
        assert "old" == reader.read()
    assert "new" == (private / "key").read_text()
    assert before["pin"] == (private / "pin").stat().st_ino
    assert before["key"] != (private / "key").stat().st_ino


def test_a_copy_that_cannot_be_made_fails(scripts: Path, shown: Path, private: Path) -> None:
    show(shown, "1", pin="1234")
    (shown / "..1" / "pin").unlink()
    assert 0 != copy(scripts, shown, private)


def test_following_ends_at_once_when_the_pod_does(scripts: Path, shown: Path, private: Path) -> None:
    show(shown, "1", pin="1234")
    with subprocess.Popen(["sh", scripts / "follow", shown, private]) as following:
        until((private / "pin").exists)
        following.send_signal(signal.SIGTERM)
        assert 0 == following.wait(10)
