"""The stack of hsm/docker-compose.yml, brought up once for all tests here and taken down after them.

Where no container engine answers, the tests are skipped, each by its name; in CI they fail. `make test-containers`
starts an engine where it can.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_docker.plugin import Services
from support.readme import ROOT, free_port

from containers.stack import REPLICAS, Stack

COMPOSE = ROOT / "hsm" / "docker-compose.yml"
WITHOUT_PULLING = ROOT / "tests" / "containers" / "docker-compose.test.yml"


def _runs(*command: str) -> bool:
    try:
        return 0 == subprocess.run(command, capture_output=True, check=False, timeout=60).returncode
    except FileNotFoundError:
        return False


def _missing(what: str) -> None:
    reason = f"{what}: run make test-containers as root on Debian, or start an engine"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    if not _runs("docker", "info"):
        _missing("No container engine answers")
    commands = (["docker", "compose"], ["docker-compose"])
    found = next((command for command in commands if _runs(*command, "version")), None)
    if found is None:
        _missing("There is no docker compose")
    return " ".join(found or [])


@pytest.fixture(scope="session")
def docker_compose_file() -> list[str]:
    """As it is published, and on images that need no pulling where engine.sh made them."""
    return [str(COMPOSE), *([str(WITHOUT_PULLING)] if "KEYSVC_BASE_IMAGE" in os.environ else [])]


@pytest.fixture(scope="session")
def ports() -> Iterator[dict[str, int]]:
    """Of this machine, for the replicas."""
    made = {name: free_port() for name in REPLICAS}
    with pytest.MonkeyPatch.context() as patch:
        for number, port in enumerate(made.values(), 1):
            patch.setenv(f"KEYSVC_PORT_{number}", str(port))
        yield made


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """One build for all services of one image. docker-compose 1 cannot wait: the fixture `stack` does."""
    return ["build provision", "up -d"]


@pytest.fixture(scope="session")
def docker_cleanup(
    docker_compose_command: str, docker_compose_file: list[str], docker_compose_project_name: str, ports: dict[str, int]
) -> Iterator[list[str]]:
    """Nothing for pytest-docker, which cleans up only after a start that succeeded."""
    yield []
    files = [part for file in docker_compose_file for part in ("-f", file)]
    compose = [*docker_compose_command.split(), *files, "-p", docker_compose_project_name]
    # pytest shows them where something failed.
    subprocess.run([*compose, "logs", "--no-color", "--tail", "20"], check=False)
    subprocess.run([*compose, "down", "--volumes", "--timeout", "5"], check=True, capture_output=True)


@pytest.fixture(scope="session")
def stack(
    docker_services: Services,
    docker_compose_project_name: str,
    ports: dict[str, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Stack:
    home = tmp_path_factory.mktemp("containers") / "var"
    made = Stack(docker_compose_project_name, home, {name: f"127.0.0.1:{port}" for name, port in ports.items()})
    for name in REPLICAS:
        made.await_health(name, "healthy")
    made.copy_what_admins_need()
    return made


@pytest.fixture(scope="session")
def home(stack: Stack) -> Path:
    """With the administrator's credentials and the CA, as they were copied from the volume."""
    return stack.home
