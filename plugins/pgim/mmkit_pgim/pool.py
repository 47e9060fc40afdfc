"""The pool of examples for a prompt: training posts with answers that people wrote."""

from __future__ import annotations

from pathlib import Path

from mmkit.data.conll import ConllImagesReader
from mmkit.data.lines import numbered_lines
from mmkit.data.types import Example
from mmkit.errors import DataError

SOURCE = "the authors' files are in data/ManualAnnotation of https://github.com/JinYuanLi0012/PGIM"


def read_answers(file: Path | str) -> dict[str, str]:
    """The id of a post → the answer that was written for it, in the order of the file.

    The file has two lines for each post: its id, and the answer. Empty lines are skipped. Raises `DataError`, with file
    and line, for an id with blanks in it, an id that occurs twice or has no answer, and for a file without posts.
    """
    path = Path(file)
    answers: dict[str, str] = {}
    post = ""
    for number, line in numbered_lines(path, SOURCE):
        text = line.strip()
        if not text:
            continue
        if post:
            answers[post], post = text, ""
            continue
        if len(text.split()) > 1 or text in answers:
            what = (
                f"a second answer for the post {text}"
                if text in answers
                else f"not the id of a post: {text[:60]!r}"
            )
            raise DataError(
                what,
                where=f"{path}:{number}",
                hint="each post has two lines: its id, and its answer on one line",
                code="pgim.pool-line",
            )
        post = text
    if post or not answers:
        raise DataError(
            f"the post {post} has no answer" if post else "there are no posts in this file",
            where=path,
            hint="each post has two lines: its id, and its answer on one line",
            code="pgim.pool-line",
        )
    return answers


def read_pool(answers: Path | str, posts: Path | str, images: str | None) -> list[tuple[Example, str]]:
    """The posts that have an answer, with it, in the order of the file of answers.

    `posts` is a file of CoNLL columns with `IMGID:` lines that has these posts, `images` the folder of its photos,
    relative to it; None: the posts have no photos. Raises `DataError` if posts are not in the file.
    """
    written, path = read_answers(answers), Path(posts)
    reader = ConllImagesReader(
        str(path.parent), path.name, images=images or "images", blank_images=images is None
    )
    found = {x.id: x for x in reader if x.id in written}
    if missing := [post for post in written if post not in found]:
        raise DataError(
            f"{len(missing)} of {len(written)} posts with an answer are not in {path}: {', '.join(missing[:3])}",
            where=answers,
            hint="`posts` is the file of the training posts to which the answers belong",
            code="pgim.pool-posts",
        )
    return [(found[post], answer) for post, answer in written.items()]
