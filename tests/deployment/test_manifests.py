"""Kubernetes takes the manifests, and they hold what keysvc needs of it. Nothing here starts a cluster."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import typer
import yaml

from deployment import manifests
from deployment.manifests import DIRECTORY, FILES, KUSTOMIZATION, Pods
from keysvc.cli.commands import app
from keysvc.cli.settings import Settings, check_encryption, read_settings
from keysvc.rpc.draining import GRACE_SECONDS

PODS = {pods.name: pods for pods in manifests.pods()}
SERVER = PODS["keysvc"]
PROJECT = tomllib.loads((DIRECTORY.parents[1] / "pyproject.toml").read_text())["project"]

each_pods = pytest.mark.parametrize("pods", PODS.values(), ids=PODS)


def selects(selector: dict[str, str], pods: Pods) -> bool:
    return selector.items() <= pods.labels.items()


def selected(selector: dict[str, str]) -> list[str]:
    return [name for name, pods in PODS.items() if selects(selector, pods)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_manifest_is_of_its_schema(path: Path) -> None:
    assert manifests.check(path) > 0


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("deployment", "replicas: 3", "replicas: three"),
        ("deployment", "readinessProbe:", "readynessProbe:"),
        ("deployment", "readOnlyRootFilesystem: true", 'readOnlyRootFilesystem: "true"'),
        ("disruption-budget", "unhealthyPodEvictionPolicy:", "unhealthyPodEvictionPolicies:"),
        ("network-policy", "podSelector:", "podSelect:"),
        ("migration", "containers:", "container:"),
    ],
)
def test_a_manifest_that_is_wrong_in_one_place_is_refused(name: str, right: str, wrong: str, tmp_path: Path) -> None:
    text = (DIRECTORY / f"{name}.yaml").read_text()
    assert right in text
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace(right, wrong))
    with pytest.raises(kubernetes_validate.ValidationError):
        manifests.check(broken)


def test_kustomize_is_told_of_every_file() -> None:
    listed = yaml.safe_load(KUSTOMIZATION.read_text())["resources"]
    assert [path.name for path in FILES] == sorted(listed)


def test_every_manifest_is_applied_by_one_of_the_documented_steps() -> None:
    documented = (DIRECTORY.parents[1] / "docs/deployment.md").read_text()
    steps = set(re.findall(r"-l app\.kubernetes\.io/component=(\w+)", documented))
    labels = [manifest["metadata"]["labels"] for manifest in manifests.everything()]
    assert steps == {label["app.kubernetes.io/component"] for label in labels}


def test_all_pods_run_the_same_keysvc_of_this_version() -> None:
    images = {container["image"] for pods in PODS.values() for container in pods.containers}
    keysvc = f"registry.example/keysvc:{PROJECT['version']}"
    assert {keysvc, "registry.example/pkcs11-library:1.0.0"} == images
    assert {keysvc} == {pods.main["image"] for pods in PODS.values()}
    replaced = yaml.safe_load(KUSTOMIZATION.read_text())["images"]
    assert images == {f"{image['name']}:{image['newTag']}" for image in replaced}


@each_pods
def test_pods_have_no_rights_that_they_do_not_need(pods: Pods) -> None:
    pod = pods.spec["securityContext"]
    assert pod == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    narrow = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert [narrow] * len(pods.containers) == [container["securityContext"] for container in pods.containers]
    assert not pods.spec["automountServiceAccountToken"]
    assert not manifests.named("ServiceAccount", pods.spec["serviceAccountName"])["automountServiceAccountToken"]
    assert all("memory" in container["resources"]["limits"] for container in pods.containers)


@each_pods
def test_secrets_are_files_that_only_the_copying_sees_as_kubernetes_shows_them(pods: Pods) -> None:
    for container in pods.containers:
        assert "secretRef" not in str(container.get("envFrom"))
        assert "valueFrom" not in str(container.get("env"))
        mounts = {mount["name"]: mount for mount in container.get("volumeMounts", [])}
        assert ("secrets" in mounts) == container["name"].startswith("private-files")


@each_pods
def test_what_is_mounted_is_there(pods: Pods) -> None:
    volumes = {volume["name"] for volume in pods.spec["volumes"]}
    assert volumes == {mount["name"] for container in pods.containers for mount in container["volumeMounts"]}
    for volume in pods.spec["volumes"]:
        if "configMap" in volume:
            assert manifests.named("ConfigMap", volume["configMap"]["name"])


def test_every_variable_is_a_setting() -> None:
    known = {f"KEYSVC_{name.upper()}" for name in Settings.model_fields}
    used = {name for path in FILES for name in re.findall(r"KEYSVC_\w+", path.read_text())}
    assert "KEYSVC_LISTEN" in used
    assert set() == used - known


@each_pods
def test_keysvc_takes_the_settings(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not pods.spec["enableServiceLinks"], "a Service would set variables that begin with KEYSVC_"
    for name, value in pods.environment.items():
        monkeypatch.setenv(name, value)
    check_encryption(read_settings())


@pytest.mark.parametrize("name", ["keysvc", "keysvc-operator"])
def test_every_private_file_that_the_settings_name_is_brought(name: str) -> None:
    pods = PODS[name]
    named = set(re.findall(r"/run/keysvc/([\w.-]+)", " ".join(pods.environment.values())))
    made_later = {"admin-credentials"} if name == "keysvc-operator" else set()
    served = set() if name == "keysvc" else {"tls.crt", "tls.key"}
    assert named == pods.files | made_later | served


def test_the_migration_is_given_the_databases_secret_alone() -> None:
    assert {"pgpass", "database-ca.crt"} == PODS["keysvc-migration"].files


@pytest.mark.parametrize("name", ["keysvc", "keysvc-migration"])
def test_what_a_pod_runs_is_a_command(name: str) -> None:
    command: Any = typer.main.get_command(app)
    for word in PODS[name].main["args"]:
        command = command.commands[word]
    assert not hasattr(command, "commands")


def test_a_rollout_never_takes_a_replica_away_before_another_serves() -> None:
    spec = manifests.named("Deployment", "keysvc")["spec"]
    assert {"maxUnavailable": 0, "maxSurge": 1} == spec["strategy"]["rollingUpdate"]
    assert spec["replicas"] >= 3
    drain = float(SERVER.environment["KEYSVC_DRAIN_DELAY"]) + 2 * GRACE_SECONDS
    assert drain + 10 < SERVER.spec["terminationGracePeriodSeconds"]


def test_readiness_is_the_health_and_a_lost_token_or_database_restarts_nothing() -> None:
    main = SERVER.main
    assert ["keysvc-probe"] == main["readinessProbe"]["exec"]["command"]
    assert ["keysvc-probe", "--alive"] == main["startupProbe"]["exec"]["command"]
    assert ["keysvc-probe", "--alive"] == main["livenessProbe"]["exec"]["command"]
    assert "keysvc-probe" in PROJECT["scripts"]


def test_replicas_stand_on_nodes_of_their_own() -> None:
    hosts, zones = SERVER.spec["topologySpreadConstraints"]
    assert ("kubernetes.io/hostname", "DoNotSchedule") == (hosts["topologyKey"], hosts["whenUnsatisfiable"])
    assert "Honor" == hosts["nodeTaintsPolicy"], "else no node may take the replica of one that is drained"
    assert ("topology.kubernetes.io/zone", "ScheduleAnyway") == (zones["topologyKey"], zones["whenUnsatisfiable"])
    assert all(["keysvc"] == selected(spread["labelSelector"]["matchLabels"]) for spread in (hosts, zones))


def test_services_and_the_disruption_budget_select_the_replicas_and_nothing_else() -> None:
    services = [each for each in manifests.everything() if each["kind"] == "Service"]
    budget = manifests.named("PodDisruptionBudget", "keysvc")["spec"]
    selectors = [budget["selector"]["matchLabels"], *(service["spec"]["selector"] for service in services)]
    assert [["keysvc"]] * 3 == [selected(selector) for selector in selectors]
    assert 1 == budget["maxUnavailable"]
    ports = {port["name"]: port["containerPort"] for port in SERVER.main["ports"]}
    assert {ports["grpc"]} == {port["port"] for service in services for port in service["spec"]["ports"]}
    assert {"grpc"} == {port["targetPort"] for service in services for port in service["spec"]["ports"]}
    assert ["None"] == [service["spec"]["clusterIP"] for service in services if "clusterIP" in service["spec"]]


def test_ports_are_those_that_keysvc_listens_on() -> None:
    ports = {port["name"]: port["containerPort"] for port in SERVER.main["ports"]}
    listened = {"grpc": "KEYSVC_LISTEN", "metrics": "KEYSVC_METRICS_LISTEN"}
    assert ports == {name: int(SERVER.environment[variable].rpartition(":")[2]) for name, variable in listened.items()}
    template = manifests.named("Deployment", "keysvc")["spec"]["template"]["metadata"]
    assert str(ports["metrics"]) == template["annotations"]["prometheus.io/port"]


def test_the_network_is_closed_to_every_pod_but_for_what_is_named() -> None:
    policies = {
        each["metadata"]["name"]: each["spec"] for each in manifests.everything() if each["kind"] == "NetworkPolicy"
    }
    shared = policies["keysvc"]
    assert list(PODS) == selected(shared["podSelector"]["matchLabels"])
    assert ["Ingress", "Egress"] == shared["policyTypes"]
    assert "ingress" not in shared
    assert {53, 5432, 1792} == {port["port"] for rule in shared["egress"] for port in rule["ports"]}
    assert ["keysvc"] == selected(policies["keysvc-server"]["podSelector"]["matchLabels"])
    assert ["keysvc-operator"] == selected(policies["keysvc-operator"]["podSelector"]["matchLabels"])
