"""The files for Slurm and Kubernetes in docs/scaling.md: whole, and what they say fits together."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pages import ROOT, blocks_of

FILES = {block.title: block.text for block in blocks_of(ROOT / "docs/scaling.md") if block.title}


def test_the_page_has_four_files() -> None:
    assert FILES.keys() == {"train.slurm", "predict.slurm", "train.yaml", "predict.yaml"}


@pytest.mark.parametrize("name", ["train.slurm", "predict.slurm"])
def test_a_file_for_slurm_is_a_script(name: str, tmp_path: Path) -> None:
    script = tmp_path / name
    script.write_text(FILES[name], encoding="utf-8")
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, *rest = FILES[name].splitlines()
    assert first == "#!/bin/bash"
    options = [shlex.split(line.removeprefix("#SBATCH ")) for line in rest if line.startswith("#SBATCH")]
    assert {"--ntasks-per-node=1"} <= {option for (option,) in options}


def documents(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    service, job = yaml.safe_load_all(FILES[name])
    return service, job


@pytest.mark.parametrize("name", ["train.yaml", "predict.yaml"])
def test_a_file_for_kubernetes_is_a_service_and_its_job(name: str) -> None:
    service, job = documents(name)
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    assert service["spec"]["clusterIP"] == "None", "each pod has a name of its own"
    assert service["spec"]["selector"] == spec["template"]["metadata"]["labels"]
    assert pod["subdomain"] == service["metadata"]["name"]
    head = f"{job['metadata']['name']}-0.{pod['subdomain']}:"
    (container,) = pod["containers"]
    assert any(head in word for word in container["command"]), "all find the first pod"
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert volumes == {mount["name"] for mount in container["volumeMounts"]}


def test_torchrun_expects_as_many_machines_as_there_are_pods() -> None:
    _, job = documents("train.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert f"--nnodes={job['spec']['completions']}" in container["command"]
