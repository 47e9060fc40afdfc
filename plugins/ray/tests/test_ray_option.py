"""`--ray` without a cluster: what is refused, and how a cluster is shared."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mmkit.cli import main
from mmkit_ray.shares import Shares
from predicting import posts, text_tagger, write_lines


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_tagger(tmp_path_factory.mktemp("tagger"))


def predict(run: Path, folder: Path, *more: str) -> Result:
    source = write_lines(folder / "in/posts.jsonl", posts(3))
    return CliRunner().invoke(
        main, ["predict", str(run), "--input", str(source), "--output", str(folder / "out"), *more]
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def test_an_address_where_nothing_answers_is_one_message(run, tmp_path):
    address = f"127.0.0.1:{free_port()}"
    done = predict(run, tmp_path, "--ray", address)
    assert done.exit_code == 2 and "ray.no-cluster" in done.stderr and address in done.stderr
    assert "Connection refused" in done.stderr and "ray start --head" in done.stderr
    assert done.stderr.count("error:") == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["nowhere", "ray://127.0.0.1:10001", "127.0.0.1:", ":6379"])
def test_what_is_no_address_is_refused(run, tmp_path, address):
    done = predict(run, tmp_path, f"--ray={address}")
    assert done.exit_code == 2 and "ray.address" in done.stderr and repr(address) in done.stderr


def test_without_ray_one_message_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = predict(run, tmp_path, "--ray")
    assert done.exit_code == 2 and "ray.not-installed" in done.stderr
    assert 'pip install "ray[data]"' in done.stderr
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_all_that_is_done_needs_no_cluster(run, tmp_path):
    assert predict(run, tmp_path, "--workers", "1").exit_code == 0
    done = predict(run, tmp_path, "--ray", f"127.0.0.1:{free_port()}")
    assert done.exit_code == 0 and "3 predictions" in done.stderr


def test_it_goes_with_files(run, tmp_path):
    alone = CliRunner().invoke(main, ["predict", str(run), "--text", "Mara", "--ray"])
    assert alone.exit_code == 2 and "--ray goes with --input" in alone.stderr
    screen = CliRunner().invoke(main, ["predict", str(run), "--ray", "--input", str(tmp_path)])
    assert screen.exit_code == 2 and "give a folder as --output" in screen.stderr


def test_the_help_of_both_commands_names_it():
    for command in ("predict", "annotate"):
        assert "--ray [ADDRESS]" in CliRunner().invoke(main, [command, "--help"]).output
    assert "--ray" not in CliRunner().invoke(main, ["train", "--help"]).output


def node(cpus: float, gpus: float = 0, alive: bool = True) -> dict[str, object]:
    return {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("nodes", "workers", "device", "shares"),
    [
        ([node(8)], None, "auto", Shares(1, 8, 0)),
        ([node(8), node(8), node(0)], None, "auto", Shares(2, 8, 0)),
        ([node(8), node(4)], None, "auto", Shares(2, 4, 0)),
        ([node(8), node(8)], 8, "auto", Shares(8, 2, 0)),
        ([node(2)], 5, "auto", Shares(5, 1, 0)),
        ([node(16, 4), node(16, 4), node(16, 4, alive=False)], None, "auto", Shares(8, 4, 1)),
        ([node(16, 4)], None, "cpu", Shares(1, 16, 0)),
        ([node(16, 4)], 2, "cuda", Shares(2, 8, 1)),
        ([node(0)], None, "auto", Shares(1, 1, 0)),
    ],
)
def test_a_cluster_is_shared_evenly(nodes, workers, device, shares):
    assert Shares.of(nodes, workers, device) == shares
