"""The image index, its writer killed at every line that writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image as Pillow

KILLED = """
import json, os, sys, shutil
from pathlib import Path
import numpy as np
from mmkit_retrieval.pictures import image_index, image_facts, image_writer, nearest, vectors
from mmkit_retrieval.corpora.article import Article, CaptionedImage
import mmkit.files

folder, picture, every = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
files = {m.__file__ for m in (image_writer, image_facts, nearest, vectors, mmkit.files)}

class Clip:
    "Vectors from the file's bytes; no torch."
    def pixels(self, picture):
        return np.asarray(picture)[0, 0].astype(np.float32)
    def vectors(self, pixels):
        return np.array([p / np.linalg.norm(p) for p in pixels], np.float32).reshape(-1, 3)

def load(self):
    self._store.model = self._store.model or vectors.Model("c", None, (1.0, 0.0, 0.0))
    return Clip()

image_writer.ImageWriter._load = load

def articles(prefix):
    images = sorted(Path(picture).glob("*.png"))
    pairs = enumerate(CaptionedImage(str(image)) for image in images)
    return [Article(f"{prefix}{n}", "t", ("lead",), (), (image,)) for n, image in pairs]

def work():
    writer = image_writer.ImageWriter(folder, "c", None, "cpu", batch_size=2, threads=1)
    for first in (0, 2, 4):
        writer.put(articles("b")[first:first + 2])
        writer.remove([f"a{first}"])
        writer.commit()
    writer.finish()
    writer.close()

def start():
    writer = image_writer.ImageWriter(folder, "c", None, "cpu", threads=1)
    writer.put(articles("a"))
    writer.finish()
    writer.close()

def seen():
    index = image_index.ImageIndex.open(folder)
    hits = index.search(np.eye(3, dtype=np.float32)[:1], 100)[0]
    return [index.identity, sorted(hit.id for hit in hits)]

def looked_at():
    try:
        return seen()
    except image_index.DataError as error:
        return [error.what, []]

def killed(line):
    count = 0
    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename not in files:
            return None
        count += event == "line"
        if count >= line:
            os._exit(9)
        return trace
    sys.settrace(trace)
    work()
    sys.settrace(None)

def in_a_child(function, *arguments):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, json.dumps(function(*arguments)).encode())
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(writing)
    with open(reading) as file:
        return code, file.read()

states, line = [], 1
assert in_a_child(start)[0] == 0
shutil.copytree(folder, f"{folder}.begun")
while True:
    shutil.rmtree(folder)
    shutil.copytree(f"{folder}.begun", folder)
    code, _ = in_a_child(killed, line)
    between = json.loads(in_a_child(looked_at)[1])
    assert in_a_child(work)[0] == 0
    after = json.loads(in_a_child(seen)[1])
    states.append([between, after, sorted(p.name.split("-")[0] for p in folder.iterdir())])
    if code == 0:
        break
    line += every
print(json.dumps(states))
"""


def test_a_kill_at_any_line_leaves_what_can_be_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for n in range(6):
        Pillow.new("RGB", (4, 4), (40 * n + 10, 90, 200 - 30 * n)).save(tmp_path / "pictures" / f"{n}.png")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "index"), str(tmp_path / "pictures"), "71"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    states = json.loads(done.stdout)
    assert len(states) > 12
    _, final, files = states[-1]
    assert final[1] == ["a1#0", "a3#0", "a5#0", *(f"b{n}#0" for n in range(6))]
    assert all(after == final for _, after, _ in states)
    assert all(left == files for _, _, left in states)
    known = {json.dumps(states[0][0]), json.dumps(final), json.dumps(["the image index is unfinished", []])}
    assert {json.dumps(between) for between, _, _ in states} == known
