"""`gmner.twitter10000.v1`: posts whose names have boxes in the photo (Twitter10000, also called Twitter-GMNER)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from mmkit.data.conll import POST, ConllImagesReader
from mmkit.data.image_files import opened
from mmkit.data.images import orientation
from mmkit.data.lines import numbered_lines
from mmkit.data.reader import Guess
from mmkit.data.regular import is_file
from mmkit.data.types import Box, Example, Region
from mmkit.errors import DataError, ImageError
from mmkit_gmner.contexts import NOTE as CONTEXT
from mmkit_gmner.contexts import Contexts
from mmkit_gmner.published import BOXES, VARIANTS
from mmkit_gmner.sample import sample
from mmkit_gmner.voc import Annotation, read_voc

AGAIN = re.compile(r"#\d+\Z")
"""What an id has behind the name of a post that occurs again."""

PROPORTIONS = 0.02
"""How much the proportions of a photo may differ from those of the picture in which its boxes were drawn."""


class Twitter10000Reader(ConllImagesReader):
    """Reads posts in columns (`IMGID:` lines, `token TAB tag`) and their boxes, one file of Pascal VOC for a photo.

    The boxes of the post `123` are in `<root>/<boxes>/123.xml`; a post without such a file has none. A box belongs to
    all names whose words, joined by single spaces, are the object's `name`: they become `Span.regions`, in pixels of
    the photo, and any one of several is right. A name without regions is not to be seen in the photo. Objects that
    name no span are left out; their names are counted in `repairs`. `boxes = None` reads the text alone: then no name
    has a region.

    Where a photo has another size than the picture in which its boxes were drawn (`size` in the XML), they are scaled,
    and this is counted; if the proportions differ by more than 2 %, it is another picture, and an error. Where the
    photo is missing, boxes are in pixels of the picture of that `size`. Columns, `images`, `rename` and `orphan_tags`
    are those of `mmkit.conll_images.v1`.

    `contexts` is a file with what a language model says about each post, in the form of PGIM's authors: the same posts
    in the same order, and after each sentence `<EOS>` and the context. It becomes the note `gmner.context`. A file of
    other posts is an error.
    """

    source: ClassVar[str] = (
        "Twitter10000_v2.0 is at https://github.com/NUSTM/GMNER, which also links the photos"
    )
    variants: ClassVar[Mapping[str, str]] = {**VARIANTS, **BOXES}

    def __init__(
        self,
        root: str,
        file: str,
        *,
        images: str | None = "images",
        boxes: str | None = "xml",
        contexts: str | None = None,
        rename: dict[str, str] | None = None,
        orphan_tags: Literal["open", "drop", "error"] = "open",
        blank_images: bool = False,
    ) -> None:
        super().__init__(
            root, file, images=images, rename=rename, orphan_tags=orphan_tags, blank_images=blank_images
        )
        self.boxes, self.contexts = boxes, contexts

    def files(self) -> list[Path]:
        """The text, the contexts, and the file of boxes of each post that has one."""
        own = [self.path, *([] if self.contexts is None else [Path(self.root) / self.contexts])]
        if self.boxes is None or self.images is None or not self.path.is_file():
            return own
        lines = (line for _, line in numbered_lines(self.path, self.source))
        posts = (line.removeprefix(POST).strip() for line in lines if line.startswith(POST))
        files = (self._file(post) for post in dict.fromkeys(posts))
        return [*own, *(file for file in files if is_file(file))]

    def __iter__(self) -> Iterator[Example]:
        posts = boxed = 0
        for example in self._with_contexts():
            if self.boxes is None or not example.images:
                if self.boxes is not None and is_file(self._file(example.id)):
                    self.repairs["post whose boxes are left out, because no `images` are read"] += 1
                yield example
                continue
            if not posts:
                self._check_folder()
            posts += 1
            try:
                grounded, found = self._grounded(example)
            except DataError as error:
                self.refuse(error)
                continue
            boxed += found
            yield grounded
        if posts and not boxed:
            self.repairs["post, none of which has a file of boxes"] += posts

    def _with_contexts(self) -> Iterator[Example]:
        """The posts, each with its context if there is a file of them."""
        if self.contexts is None:
            yield from super().__iter__()
            return
        contexts: Contexts | None = None
        refused = len(self.errors or ())
        for example in super().__iter__():
            contexts = contexts or Contexts(Path(self.root) / self.contexts, self.source, self.repairs)
            now = len(self.errors or ())
            found = contexts.next(example.tokens, example.id, now - refused)
            refused = now
            yield replace(example, notes={**example.notes, CONTEXT: found}) if found else example
        if contexts is not None:
            try:
                contexts.end(len(self.errors or ()) - refused)
            except DataError as error:
                self.refuse(error)

    def _check_folder(self) -> None:
        folder = Path(self.root) / str(self.boxes)
        if not folder.is_dir():
            raise DataError(
                "there is no such folder of boxes",
                where=folder,
                hint=f"{self.source}; boxes = null reads the text alone",
                code="file.missing",
            )

    def _file(self, post: str) -> Path:
        name = post.replace("\\", "/").rpartition("/")[2].removesuffix(".jpg")
        return Path(self.root) / str(self.boxes) / f"{name}.xml"

    def _grounded(self, example: Example) -> tuple[Example, bool]:
        """The example with the regions of its spans, and whether there is a file of boxes."""
        file = self._file(example.id)
        if not is_file(file):  # a post that occurs again has its own id, with a number
            file = self._file(AGAIN.sub("", example.id))
        annotation = read_voc(file)
        if annotation is None:
            return example, False
        across, down = self._scales(example, annotation, file)
        regions: defaultdict[str, list[Region]] = defaultdict(list)
        for found in annotation.objects:
            left, top, right, bottom = found.box
            box: Box = (left * across, top * down, right * across, bottom * down)
            regions[found.name].append(Region(0, box))
        names = [" ".join(example.tokens[span.start : span.end]) for span in example.spans]
        if unknown := regions.keys() - set(names):
            self.repairs["name of boxes that no entity of the post has, so that they are left out"] += len(
                unknown
            )
        spans = (
            replace(span, regions=tuple(regions.get(name, ())))
            for span, name in zip(example.spans, names, strict=True)
        )
        return replace(example, spans=tuple(spans)), True

    def _scales(self, example: Example, annotation: Annotation, file: Path) -> tuple[float, float]:
        """By what horizontal and vertical coordinates are multiplied to be pixels of the photo."""
        path, size = example.images[0].path, annotation.size
        if path is None:
            return 1.0, 1.0
        if size is None:
            self.repairs["file of boxes without the size of its picture, so that boxes are not scaled"] += 1
            return 1.0, 1.0
        try:
            with opened(path) as picture:
                width, height = picture.size
                if (orientation(picture) or 1) > 4:
                    width, height = height, width
        except ImageError:  # said of all photos together, once they are looked at
            return 1.0, 1.0
        if (width, height) == size:
            return 1.0, 1.0
        across, down = width / size[0], height / size[1]
        rounded = abs(size[0] * down - width) <= 1 or abs(size[1] * across - height) <= 1  # of a small copy
        if abs(across / down - 1) > PROPORTIONS and not rounded:
            raise DataError(
                f"the boxes were drawn in a picture of {size[0]} × {size[1]} pixels, "
                f"but the photo {path} has {width} × {height}, which are other proportions",
                where=file,
                hint="this is another photo: take the one that belongs to the boxes",
                code="gmner.other-photo",
            )
        self.repairs["post whose boxes were scaled to the size of its photo"] += 1
        return across, down

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """Columns under `IMGID:` lines, with a folder `xml` beside them or beside their folder."""
        guess = super().recognize(path, head)
        if guess is None or not guess.sure:
            return None
        for up in path.absolute().parents[:2]:
            if any((up / "xml").glob("*.xml")):  # told whole, because `root` may become another folder
                return Guess("posts whose names have boxes", {"boxes": str(up / "xml")})
        return None

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        return sample(folder, seed)
