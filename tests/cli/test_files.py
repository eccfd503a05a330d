"""Private files: written for their owner alone whatever lies in the way, and read only while they are private."""

from __future__ import annotations

from pathlib import Path

import pytest

from keysvc.cli.files import private_directory, read_private, write_private
from keysvc.model.errors import Misconfigured


def test_a_written_file_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for text in ("first", "second"):
        write_private(file, text)
        assert (text, 0o600) == (file.read_text(), file.stat().st_mode & 0o777)
    assert ["file"] == [path.name for path in tmp_path.iterdir()]


def test_what_lies_where_the_new_file_is_made_is_not_written_through(tmp_path: Path) -> None:
    """A link, or a file that others can read, left there by a crash or by somebody else."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    (tmp_path / "linked.new").symlink_to(elsewhere)
    (tmp_path / "open.new").touch(mode=0o666)
    for name in ("linked", "open"):
        write_private(tmp_path / name, "secret")
        assert 0o600 == (tmp_path / name).stat().st_mode & 0o777
        assert not (tmp_path / name).is_symlink()
    assert "untouched" == elsewhere.read_text()


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601])
def test_a_file_that_is_open_to_others_in_any_way_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "file"
    write_private(file, "secret")
    assert b"secret" == read_private(file, "file", "KEYSVC_X")
    file.chmod(mode)
    with pytest.raises(Misconfigured, match="chmod 600"):
        read_private(file, "file", "KEYSVC_X")


def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    made = tmp_path / "a" / "b"
    private_directory(made)
    assert 0o700 == made.stat().st_mode & 0o777


def test_only_a_directory_that_is_ours_is_closed_to_others(tmp_path: Path) -> None:
    for name in ("empty", "ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    (tmp_path / "ours" / "pin").touch()
    (tmp_path / "theirs" / "file").touch()
    private_directory(tmp_path / "empty", "pin")
    private_directory(tmp_path / "ours", "pin")
    with pytest.raises(Misconfigured, match="KEYSVC_HOME"):
        private_directory(tmp_path / "theirs", "pin")
    assert {"empty": 0o700, "ours": 0o700, "theirs": 0o777} == {
        path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()
    }
