"""Predictions and annotations on a real Ray cluster of two nodes, one of which is killed in the middle.

Starting Ray takes a while, so this runs only where it is asked for: `make matrix`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmkit.inference.shards import plan
from predicting import answers, posts, text_tagger, write_lines, written

pytestmark = pytest.mark.matrix

CLUSTER = """
import json, os, signal, sys
from pathlib import Path
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # 127.0.0.1
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
import ray.data
from ray.cluster_utils import Cluster
from mmkit.hooks import hookimpl
from mmkit.inference.shards import plan
from mmkit.inference.shards.files import predict_files
from mmkit_ray import workers
from mmkit_ray.executor import RayExecutor

plan.PART = 400
cluster = Cluster(
    initialize_head=True,
    head_node_args={
        "num_cpus": 1,
        "include_dashboard": False,
        "_system_config": {  # a node that is gone is noticed soon
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 1000,
            "health_check_failure_threshold": 4,
        },
    },
)
other = cluster.add_node(num_cpus=1)
run, source, out = map(Path, sys.argv[1:])

class Telling:
    notes, told = [], 0
    def __init__(self, moment, act):
        self.moment, self.act = moment, act
    @hookimpl
    def mmkit_note(self, message):
        self.notes.append(message)
    @hookimpl
    def mmkit_progress(self):
        self.told += 1
        if self.told == self.moment:
            self.act()

def predict(moment=0, act=None, **options):
    return predict_files(
        run, source, out, device="cpu", executor=RayExecutor(cluster.address), hooks=[Telling(moment, act)], **options
    )

def say(**facts):
    print(json.dumps(facts))
    cluster.shutdown()
"""

NODE_KILLED = """
ray.data.DataContext.get_current().wait_for_min_actors_s = 60  # both nodes work from the beginning

def kill():
    ray.data.DataContext.get_current().wait_for_min_actors_s = -1
    cluster.remove_node(other, allow_graceful=False)

done = predict(2, kill)
say(predictions=done.predictions, errors=done.errors, notes=Telling.notes)
"""

ALL_KILLED = """
predict(2, lambda: os.kill(os.getpid(), signal.SIGKILL))
"""

AGAIN = """
done = predict()
say(predictions=done.predictions, computed=done.computed)
"""

POISONED = """
class Poisoned(workers.Predicts):
    def do(self, task):
        if task.part == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().do(task)

workers.Predicts = Poisoned
try:
    predict()
except Exception as error:
    say(code=error.code, message=str(error), notes=Telling.notes)
"""

ANNOTATED = """
from dataclasses import replace
from mmkit.annotators.base import Annotator
from mmkit.annotators.run import annotate
from mmkit.data.jsonlines import read_jsonl

class Shout(Annotator):
    batch_size, keep_going = 2, True
    def __init__(self, log):
        self.log = log
    def fingerprint(self):
        return "shout"
    def key(self, x):
        return x.text
    def annotate(self, batch):
        if any(x.id == "p7" for x in batch):
            os.kill(os.getpid(), signal.SIGKILL)
        for x in batch:
            (self.log / f"{os.getpid()} {x.id}").touch()
        return [x.text.upper() for x in batch]
    def apply(self, x, result):
        return replace(x, notes={"shout": result})

out.mkdir()
ray.data.DataContext.get_current().wait_for_min_actors_s = 60
examples = list(read_jsonl(source / "a.jsonl", "examples"))
shout = Shout(out)
found = annotate(shout, examples, compute=RayExecutor(cluster.address).annotate)
failures = dict(shout.failures)
stored = annotate(shout, [x for x in examples if x.id not in failures], compute=None)
assert stored == [x for x in found if x.id not in failures]
say(
    failures=failures,
    shouts=[x.notes.get("shout") for x in found],
    computed=sorted(path.name.split()[1] for path in out.iterdir()),
    processes=[int(path.name.split()[0]) for path in out.iterdir()],
    own=os.getpid(),
)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_tagger(tmp_path_factory.mktemp("tagger"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_lines(tmp_path / "in/a.jsonl", [*posts(150), "{broken", '{"text": 3}'])
    write_lines(tmp_path / "in/b/a.jsonl", posts(9))
    return tmp_path / "in"


def on_cluster(script: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Run a script that has started a cluster of two nodes."""
    environment = {**os.environ, "MMKIT_CACHE": str(paths[-1].parent / "cache"), "RAY_worker_niceness": "0"}
    return subprocess.run(
        [sys.executable, "-c", CLUSTER + script, *map(str, paths)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def in_one_process(run: Path, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import mmkit

    monkeypatch.setattr(plan, "PART", 400)
    mmkit.predict_files(run, source, out, device="cpu")
    return out


def labels(folder: Path) -> dict[str, list[Any]]:
    """What was found in each post of each file."""
    return {
        name: [
            (x["id"], [(e["start"], e["end"], e["label"]) for e in x["entities"]])
            for x in answers(folder / name)
        ]
        for name in ("a.jsonl", "b/a.jsonl")
    }


def test_a_node_killed_in_the_middle_changes_nothing(run, source, tmp_path, monkeypatch):
    facts = said(on_cluster(NODE_KILLED, run, source, tmp_path / "out"))
    assert (facts["predictions"], facts["errors"]) == (159, 2)
    assert any("its work is tried again" in note for note in facts["notes"]), facts["notes"]
    whole = in_one_process(run, source, tmp_path / "whole", monkeypatch)
    assert labels(tmp_path / "out") == labels(whole)
    ours, theirs = written(tmp_path / "out"), written(whole)
    assert ours.keys() == theirs.keys() and ours["errors.jsonl"] == theirs["errors.jsonl"]


def test_all_killed_the_same_command_goes_on(run, source, tmp_path, monkeypatch):
    killed = on_cluster(ALL_KILLED, run, source, tmp_path / "out")
    assert killed.returncode == -9, killed.stderr
    facts = said(on_cluster(AGAIN, run, source, tmp_path / "out"))
    assert facts["predictions"] == 159 and facts["computed"] < 161
    assert labels(tmp_path / "out") == labels(in_one_process(run, source, tmp_path / "whole", monkeypatch))


def test_a_part_that_ends_its_process_is_named(run, source, tmp_path):
    facts = said(on_cluster(POISONED, run, source, tmp_path / "out"))
    assert facts["code"] == "predict.files-failed"
    assert "the process that predicted it ended 2 times" in facts["message"]
    assert "a.jsonl, lines " in facts["message"] and "Traceback" not in facts["message"]
    assert len([note for note in facts["notes"] if "its file is given up" in note]) == 1
    assert any("its work is tried again" in note for note in facts["notes"])
    assert len(answers(tmp_path / "out/b/a.jsonl")) == 9


def test_results_of_an_annotator_come_from_all_and_are_stored_by_one(run, source, tmp_path):
    write_lines(source / "a.jsonl", posts(30), header=True)
    facts = said(on_cluster(ANNOTATED, run, source, tmp_path / "out"))
    assert facts["failures"].keys() == {"p6", "p7"}
    assert all("ended 2 times" in reason for reason in facts["failures"].values())
    expected = [post["text"].upper() if i not in (6, 7) else None for i, post in enumerate(posts(30))]
    assert facts["shouts"] == expected
    assert facts["computed"] == sorted(f"p{i}" for i in range(30) if i not in (6, 7)), "each once"
    assert len(set(facts["processes"])) >= 2 and facts["own"] not in facts["processes"]
