"""The Kubernetes manifests: valid by its schemas, held to their limits, and true of the server. Needs no cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from fastapi.routing import APIRoute

from tests.docker.stack import ROOT
from unmingle.service.http.routes import health
from unmingle.service.settings import unknown_variables

FOLDER = ROOT / "docker" / "k8s"
SERVERS, RAY = FOLDER / "servers.yaml", FOLDER / "ray.yaml"


def resources(file: Path) -> list[dict[str, Any]]:
    return [resource for resource in yaml.safe_load_all(file.read_text()) if resource]


def one(kind: str) -> dict[str, Any]:
    (found,) = [resource for resource in resources(SERVERS) if resource["kind"] == kind]
    return found


def pods(file: Path) -> list[dict[str, Any]]:
    """The specifications of all pods, wherever they stand."""
    found: list[dict[str, Any]] = []

    def look(at: object) -> None:
        if isinstance(at, dict):
            if isinstance(at.get("containers"), list):
                found.append(at)
            for value in at.values():
                look(value)
        elif isinstance(at, list):
            for value in at:
                look(value)

    for resource in resources(file):
        look(resource)
    return found


FILES = sorted(FOLDER.glob("*.yaml"))
PODS = [pytest.param(pod, id=f"{file.stem}-{index}") for file in FILES for index, pod in enumerate(pods(file))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_schemas_of_kubernetes_take_it(file: Path) -> None:
    for resource in resources(file):
        if resource["apiVersion"].startswith("ray.io/"):
            continue  # what is Kubernetes' own in it, its pods, is looked at below
        kubernetes_validate.validate(resource, "1.37", strict=True)


@pytest.mark.parametrize("pod", PODS)
def test_every_pod_is_valid_and_on_a_short_leash(pod: dict[str, Any]) -> None:
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}
    kubernetes_validate.validate(whole, "1.37", strict=True)
    talks_to_kubernetes = [container["name"] for container in pod["containers"]] == ["ray-head"]  # its autoscaler
    assert pod["automountServiceAccountToken"] is talks_to_kubernetes
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"]["drop"] == ["ALL"]
        assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["limits"].keys()
    for volume in pod["volumes"]:
        assert "persistentVolumeClaim" in volume or volume["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("pod", PODS)
def test_every_setting_is_one_and_nothing_secret_is_written_down(pod: dict[str, Any]) -> None:
    for container in pod["containers"]:
        environment = {entry["name"]: entry for entry in container.get("env", ())}
        assert not unknown_variables({name: "" for name in environment})
        for name, entry in environment.items():
            if re.search("URL|KEY", name) and "TRACES" not in name:
                assert "secretKeyRef" in entry["valueFrom"]


def test_the_server_is_the_one_of_the_image() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    pod = one("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert f"--uid {pod['securityContext']['runAsUser']} " in dockerfile
    assert f"EXPOSE {container['ports'][0]['containerPort']}" in dockerfile
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["image"].partition(":")[2] in re.findall(r"^FROM \w+ AS (\w+)$", dockerfile, re.MULTILINE)
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert "UNMINGLE_DATA_DIR=/data" in dockerfile and mounts == {"/data", "/tmp"}


def test_all_machines_have_the_ray_of_the_image() -> None:
    (cluster,) = [resource for resource in resources(RAY) if resource["kind"] == "RayCluster"]
    (version,) = re.findall(r"^ray==(\S+)", (ROOT / "docker" / "requirements-cluster.txt").read_text(), re.MULTILINE)
    assert cluster["spec"]["rayVersion"] == version
    images = {container["image"] for pod in pods(RAY) for container in pod["containers"]}
    assert images == {"unmingle:cluster"}


def test_servers_and_all_machines_reach_the_store() -> None:
    """What servers and workers hand to each other are files, which go through it."""
    first, second, servers = sorted(pods(RAY), key=lambda pod: "UNMINGLE_STORE_URL" in _environment(pod))
    assert "UNMINGLE_STORE_URL" in _environment(servers)
    for machine in (first, second):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            assert _environment(machine)[name] == _environment(servers)[name]
        (scratch,) = [volume["emptyDir"] for volume in machine["volumes"] if volume["name"] == "tmp"]
        assert scratch.get("medium") != "Memory"


def _environment(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return {entry["name"]: entry for entry in container["env"]}


def test_it_gets_longer_to_stop_than_it_takes() -> None:
    pod = one("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (grace,) = [int(entry["value"]) for entry in container["env"] if entry["name"] == "UNMINGLE_GRACE_S"]
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > waits + 2 * grace


def test_probes_ask_for_what_the_server_has() -> None:
    paths = {route.path for route in health.router.routes if isinstance(route, APIRoute)}
    (container,) = one("Deployment")["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in paths


def test_service_policy_budget_and_scaler_mean_the_same_pods() -> None:
    labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert one("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert one("Service")["spec"]["selector"].items() <= labels.items()
    assert one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == one("Deployment")["metadata"]["name"]
