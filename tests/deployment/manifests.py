"""Kubernetes' manifests as data: read from their files, and held against the schemas of Kubernetes' own API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # its schemas come with it, so nothing is fetched
import yaml

DIRECTORY = Path(__file__).parents[2] / "hsm/kubernetes"
KUSTOMIZATION = DIRECTORY / "kustomization.yaml"
FILES = tuple(sorted(path for path in DIRECTORY.glob("*.yaml") if path != KUSTOMIZATION))
OLDEST = "1.33"
"""Which docs/deployment.md names: the first where an init container that keeps running is stable."""

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Pods:
    """What a workload makes pods of."""

    name: str
    labels: dict[str, str]
    spec: Manifest

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def main(self) -> Manifest:
        (main,) = self.spec["containers"]
        return dict(main)

    @property
    def files(self) -> set[str]:
        """The names of the secrets' files."""
        (volume,) = (volume for volume in self.spec["volumes"] if volume["name"] == "secrets")
        sources = [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
        return {item["path"] for secret in (sources or [volume["secret"]]) for item in secret["items"]}

    @property
    def environment(self) -> dict[str, str]:
        """Of the program: the shared settings, and its own."""
        shared = [source["configMapRef"]["name"] for source in self.main["envFrom"]]
        own = {variable["name"]: variable["value"] for variable in self.main.get("env", [])}
        return {name: value for each in shared for name, value in named("ConfigMap", each)["data"].items()} | own


def read(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text()))


@cache
def everything() -> tuple[Manifest, ...]:
    return tuple(manifest for path in FILES for manifest in read(path))


def named(kind: str, name: str) -> Manifest:
    (found,) = (each for each in everything() if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def pods() -> Iterator[Pods]:
    for manifest in everything():
        if manifest["kind"] in ("Deployment", "Job"):
            template = manifest["spec"]["template"]
            yield Pods(manifest["metadata"]["name"], template["metadata"]["labels"], template["spec"])


def check(path: Path) -> int:
    """How many manifests the file holds. Raises kubernetes_validate.ValidationError where one is not of its schema,
    or has a field that the schema does not know."""
    manifests = read(path)
    for manifest in manifests:
        for version in (OLDEST, kubernetes_validate.latest_version()):
            kubernetes_validate.validate(manifest, version, strict=True)
    return len(manifests)
