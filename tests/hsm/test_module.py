"""Loading and initialising the module: with locks, or not at all; and finding the token in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.softhsm import PIN, Tokens

from keysvc.hsm.module import Module
from keysvc.model.errors import Misconfigured

CKR_OK = "0"
CKR_GENERAL_ERROR = "5"
CKR_CANT_LOCK = "0x0A"
OS_LOCKING_OK = "2\n"

Compile = Callable[..., Path]


@pytest.fixture
def flags_file(tmp_path: Path) -> Path:
    return tmp_path / "flags"


@pytest.fixture
def stub(compile_module: Compile, flags_file: Path) -> Callable[..., Path]:
    """A module that answers C_Initialize as told."""

    def build(answer: str, **macros: str) -> Path:
        return compile_module("stub_module.c", ANSWER=answer, FLAGS_FILE=f'"{flags_file}"', **macros)

    return build


def refused(path: Path) -> str:
    """The one line that says why the module at `path` is not used."""
    with pytest.raises(Misconfigured) as refusal:
        Module(str(path))
    message = refusal.value.message
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_module_that_cannot_lock_is_refused(stub: Callable[..., Path], flags_file: Path) -> None:
    message = refused(stub(CKR_CANT_LOCK))
    assert "CKR_CANT_LOCK" in message
    assert OS_LOCKING_OK == flags_file.read_text(), "asked once, and not again without locks"


def test_a_module_that_does_not_initialise_is_refused_with_its_code(stub: Callable[..., Path]) -> None:
    assert "0x5" in refused(stub(CKR_GENERAL_ERROR))


def test_the_module_is_told_to_lock_at_the_start_and_after_a_reset(stub: Callable[..., Path], flags_file: Path) -> None:
    module = Module(str(stub(CKR_OK)))
    assert OS_LOCKING_OK == flags_file.read_text()
    module.reset()
    assert OS_LOCKING_OK * 2 == flags_file.read_text()


def test_a_module_that_exports_its_function_list_alone_is_initialised_with_locks(
    stub: Callable[..., Path], flags_file: Path
) -> None:
    """C_GetFunctionList is the only symbol to be looked up by name (PKCS#11 2.40 section 3.6)."""
    module = Module(str(stub(CKR_OK, ONLY_FUNCTION_LIST="1")))
    module.reset()
    assert OS_LOCKING_OK * 2 == flags_file.read_text()


def test_a_missing_module_is_named(tmp_path: Path) -> None:
    assert "KEYSVC_PKCS11_MODULE" in refused(tmp_path / "nothing.so")


def test_a_directory_is_no_module(tmp_path: Path) -> None:
    refused(tmp_path)


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.so"
    path.write_text("no library\n")
    refused(path)


def test_a_library_that_is_no_module_is_refused(compile_module: Compile, tmp_path: Path) -> None:
    """It loads, and has no C_GetFunctionList."""
    path = compile_module("stub_module.c", ANSWER=CKR_OK, FLAGS_FILE='""', C_GetFunctionList="renamed")
    refused(path)


def test_an_unknown_token_is_named(tokens: Tokens) -> None:
    with pytest.raises(Misconfigured, match=r"'no-such-token'.*KEYSVC_TOKEN_LABEL"):
        tokens.module.token("no-such-token")


def test_two_tokens_of_one_label_are_refused(tokens: Tokens) -> None:
    label = tokens.blank().label
    with pytest.raises(Misconfigured, match=f"Several tokens are labelled '{label}'"):
        tokens.module.make_token(label, PIN)
    with pytest.raises(Misconfigured, match=f"Several tokens are labelled '{label}'"):
        tokens.module.token(label)


def test_a_token_is_found_by_its_whole_label(tokens: Tokens) -> None:
    label = tokens.blank().label
    with pytest.raises(Misconfigured):
        tokens.module.token(label + "x")
    with pytest.raises(Misconfigured):
        tokens.module.token(label[: len("test")])
    assert label == tokens.module.token(label).label
