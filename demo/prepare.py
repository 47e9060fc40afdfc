"""Make the data of `make demo-real`: real photographs with sentences, and two pretrained networks.

    python demo/prepare.py                          # into data/demo-real; fetches 205 MB with apt-get
    python demo/prepare.py --package FILE.deb --package FILE.deb    # from packages that were fetched elsewhere

The photographs come from the Debian packages tuxpaint-stamps-default (Tux Paint) and gcompris-qt-data (GCompris), which
are fetched but not installed. `ATTRIBUTION.tsv` in the dataset names the author and the licence of each.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import debian
import photo_credits
import sentences
from photo_credits import Credit
from photographs import ENDINGS, SPLITS, Photograph, read_list
from qt_resources import Resources

from mmkit.errors import DataError, MMKitError
from mmkit.files import written_once
from mmkit.terminal import echo, error_line

TUX_PAINT, GCOMPRIS = ENDINGS
STAMPS = "usr/share/tuxpaint/stamps/{}"
ACTIVITY = "usr/share/gcompris-qt/rcc/{}.rcc"
INSIDE = "gcompris/src/activities/{}"
COPYRIGHT = "usr/share/doc/{}/copyright"
OF_TUX_PAINT = Credit(
    "Bill Kendrick and the contributors to Tux Paint",
    "GPL-2.0-or-later",
    "http://sourceforge.net/projects/tuxpaint",
)
TIMES = {"train": 4, "dev": 2, "test": 2}
"""Split → how many sentences there are about each photograph."""
ENOUGH = 0.9
"""The share of the list that packages must have; another version may lack some photographs."""


@dataclass(frozen=True)
class Found:
    """A photograph that was found, with its bytes and its credit."""

    photograph: Photograph
    content: bytes
    credit: Credit


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("data/demo-real"), help="the folder to make")
    parser.add_argument(
        "--package",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.deb",
        help="a package that is here already",
    )
    given = parser.parse_args(arguments)
    try:
        made = written_once(given.output / "photographs", lambda folder: write_dataset(folder, given.package))

        from networks import write_image_encoder, write_text_encoder  # PyTorch takes seconds to import

        written_once(given.output / "minilm", write_text_encoder)
        written_once(given.output / "efficientnet_lite0", write_image_encoder)
    except MMKitError as error:
        error_line("error:", error)
        sys.exit(error.exit_code)
    echo(f"the data are in {made}; ATTRIBUTION.tsv there names the author and the licence of each photograph")


def write_dataset(
    folder: Path, packages: Sequence[Path] = (), listed: Sequence[Photograph] | None = None
) -> None:
    """Write the dataset into a folder. Packages that are not given are fetched.

    Raises `DataError` if a package cannot be fetched or read, or if too many photographs are missing.
    """
    listed = read_list() if listed is None else listed
    given = {debian.package_of(path): path for path in packages}
    if unknown := sorted(given.keys() - ENDINGS.keys()):
        raise DataError(
            f"the demo reads no package {', '.join(unknown)}",
            hint=f"it reads {' and '.join(ENDINGS)}; keep the names that the files were fetched with",
        )
    found: list[Found] = []
    with tempfile.TemporaryDirectory() as name:
        for package, read in ((TUX_PAINT, tux_paint), (GCOMPRIS, gcompris)):
            if package not in given:
                echo(f"fetching the package {package}")
            file = given.get(package) or debian.download(package, Path(name))
            own, terms = read(file, [each for each in listed if each.package == package])
            found += own
            (folder / f"LICENCES-{package}.txt").write_bytes(terms)
    check_found(listed, found)
    (folder / "photos").mkdir()
    for each in found:
        (folder / "photos" / each.photograph.file).write_bytes(each.content)
    write_attribution(folder / "ATTRIBUTION.tsv", found)
    for split in SPLITS:
        write_split(folder / f"{split}.jsonl", [e.photograph for e in found if e.photograph.split == split])


def tux_paint(file: Path, listed: Sequence[Photograph]) -> tuple[list[Found], bytes]:
    """The photographs of Tux Paint's stamps, and the terms of their package."""
    paths = {each: STAMPS.format(each.path) for each in listed}
    terms = COPYRIGHT.format(TUX_PAINT)
    files = debian.read_files(file, [*paths.values(), terms])
    found = [Found(each, files[path], OF_TUX_PAINT) for each, path in paths.items() if path in files]
    return found, _terms(files, terms, file)


def gcompris(file: Path, listed: Sequence[Photograph]) -> tuple[list[Found], bytes]:
    """The photographs of GCompris that are under a free licence, and the terms of their package."""
    activities = {each: ACTIVITY.format(each.folder.partition("/")[0]) for each in listed}
    terms = COPYRIGHT.format(GCOMPRIS)
    files = debian.read_files(file, {*activities.values(), terms})
    found: list[Found] = []
    for activity in dict.fromkeys(activities.values()):
        if activity in files:
            own = [each for each in listed if activities[each] == activity]
            found += _of_activity(Resources(files[activity], f"{file}: {activity}"), own)
    return found, _terms(files, terms, file)


def _of_activity(resources: Resources, listed: Sequence[Photograph]) -> list[Found]:
    """The photographs of one activity; the files README of their folder, or of the one above, have their credits."""
    folders = {each.folder for each in listed}
    readmes = {f"{place}/README" for folder in folders for place in (folder, folder.rpartition("/")[0])}
    files = resources.read([INSIDE.format(path) for path in (*readmes, *(each.path for each in listed))])
    told: dict[str, Credit] = {}
    for readme in sorted(readmes):
        text = files.get(INSIDE.format(readme), b"").decode("utf-8", "replace")
        place = readme.removesuffix("README")
        told |= {f"{place}{path}": credit for path, credit in photo_credits.read_credits(text).items()}
    return [
        Found(each, files[INSIDE.format(each.path)], told[each.path])
        for each in listed
        if INSIDE.format(each.path) in files and each.path in told and told[each.path].is_free
    ]


def _terms(files: Mapping[str, bytes], path: str, file: Path) -> bytes:
    if path not in files:
        raise DataError(f"the package lacks {path}, which has its terms", where=file)
    return files[path]


def check_found(listed: Sequence[Photograph], found: Sequence[Found]) -> None:
    """Say which photographs a package does not have, or has without a free licence. Too few are an error."""
    there = {each.photograph for each in found}
    missing = [f"{each.package}: {each.path}" for each in listed if each not in there]
    for line in missing:
        echo(f"left out, because it is not there or its licence is not told: {line}", err=True)
    if len(found) < ENOUGH * len(listed):
        raise DataError(
            f"{len(missing)} of {len(listed)} photographs are missing",
            hint="the packages of Debian 12 have all; demo/photographs.txt lists what is looked for",
        )


def write_attribution(path: Path, found: Iterable[Found]) -> None:
    """A table of authors, licences and sources."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["file", "shows", "author", "licence", "source", "package", "path in the package"])
        for each in found:
            photograph, credit = each.photograph, each.credit
            row = [photograph.file, photograph.type, credit.author, credit.licence, credit.source]
            table.writerow([*row, photograph.package, photograph.path])


def write_split(path: Path, photographs: Sequence[Photograph]) -> None:
    """The sentences of a split, in random order: the same ones whenever it is written."""
    lines = []
    for photograph in photographs:
        rng = random.Random(photograph.file)
        for number in range(1, TIMES[photograph.split] + 1):
            record = sentences.write(photograph.type, photograph.split, f"photos/{photograph.file}", rng)
            lines.append(json.dumps({"id": f"{Path(photograph.file).stem}#{number}", **record}))
    random.Random(path.name).shuffle(lines)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    shown = Counter(photograph.type for photograph in photographs)
    told = ", ".join(f"{number} {type_}" for type_, number in sorted(shown.items()))
    echo(f"{path.name}: {len(lines)} sentences about {len(photographs)} photographs ({told})")


if __name__ == "__main__":
    main()
