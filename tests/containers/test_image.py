"""The image, and what its containers may do: read from docker, and tried from inside."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from support.readme import ROOT

from containers.stack import REPLICAS, STATE, Stack, docker

USER = 10001
PLACES = ("/", "/etc", "/opt/keysvc", "/usr/lib", "/run/keysvc", STATE, "/tmp")
LOOK = """
import importlib.util, json, os, pathlib
def may_write(place):
    try:
        (pathlib.Path(place) / "tried").touch()
        (pathlib.Path(place) / "tried").unlink()
    except OSError:
        return False
    return True
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
print(json.dumps({
    "ids": [os.getuid(), os.getgid(), *map(int, status["Uid"].split())],
    "groups": os.getgroups(),
    "capabilities": [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no new privileges": int(status["NoNewPrivs"]),
    "seccomp": int(status["Seccomp"]),
    "writable": [place for place in PLACES if may_write(place)],
    "installers": [name for name in ("pip", "setuptools") if importlib.util.find_spec(name)],
    "open to others": [str(path) for path in pathlib.Path("STATE").rglob("*") if path.lstat().st_mode & 0o077],
}))
"""


@pytest.fixture(scope="module")
def production_image(stack: Stack) -> Iterator[str]:
    """Built as for production, from what the stack's build left."""
    tag, base = "keysvc:tested", os.environ.get("KEYSVC_BASE_IMAGE")
    ours = ["--network", "host", "--build-arg", f"BASE={base}"] if base else []
    built = docker("build", *ours, "--file", str(ROOT / "hsm" / "Dockerfile"), "--tag", tag, str(ROOT))
    assert 0 == built.returncode, built.stderr.decode()
    yield tag
    docker("rmi", tag)


def test_it_starts_without_a_shell_and_not_as_root(production_image: str) -> None:
    config = json.loads(docker("inspect", production_image).stdout)[0]["Config"]
    assert (f"{USER}:{USER}", ["keysvc"], ["serve"]) == (config["User"], config["Entrypoint"], config["Cmd"])
    assert ("SIGTERM", ["CMD", "keysvc-probe"]) == (config["StopSignal"], config["Healthcheck"]["Test"])
    assert "keysvc" == config["Labels"]["org.opencontainers.image.title"]
    assert [] == [variable for variable in config["Env"] if "PIN" in variable or "PASSWORD" in variable]


def test_a_production_image_brings_no_token_and_says_what_it_wants(production_image: str) -> None:
    bare = ("run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL")
    assert b"" == docker(*bare, "--entrypoint", "find", production_image, "/usr", "-name", "*softhsm*").stdout
    done = docker(*bare, production_image)
    assert (1, b"") == (done.returncode, done.stdout)
    assert done.stderr.startswith(b"keysvc: Set KEYSVC_")
    probed = docker(*bare, "--entrypoint", "keysvc-probe", production_image)
    assert (1, 1) == (probed.returncode, probed.stderr.count(b"\n"))
    assert probed.stderr.startswith(b"keysvc-probe: keysvc does not answer on 127.0.0.1:50051")


@pytest.mark.parametrize("name", REPLICAS)
def test_a_replica_is_nobody_and_writes_only_its_state(stack: Stack, name: str) -> None:
    done = stack.run(name, "python", "-c", LOOK.replace("PLACES", repr(PLACES)).replace("STATE", STATE))
    assert 0 == done.returncode, done.stderr.decode()
    found = json.loads(done.stdout)
    assert {USER} == set(found["ids"])
    assert {USER} == set(found["groups"]) | {USER}
    assert {0} == set(found["capabilities"])
    assert (1, 2) == (found["no new privileges"], found["seccomp"])
    assert [STATE, "/tmp"] == found["writable"]
    assert [] == found["installers"]
    assert [] == found["open to others"]
    assert stack.inspect(name)["HostConfig"]["ReadonlyRootfs"]
