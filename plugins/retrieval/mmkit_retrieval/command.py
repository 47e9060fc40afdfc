"""`mmkit retrieval`: the plugin's commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmkit.cli.options import as_json, console_display, device_option, quiet_libraries
from mmkit.terminal import echo

if TYPE_CHECKING:
    from mmkit_retrieval.indexing.build import Summary
    from mmkit_retrieval.retrieved import Retrieved

_PATH = click.Path(path_type=Path)


@click.group()
def retrieval() -> None:
    """Build indexes of a corpus, and search them."""


@retrieval.command("build-index")
@click.argument("corpus", type=_PATH)
@click.argument("out", type=_PATH)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "jsonl", "wikipedia"]),
    default="auto",
    show_default=True,
    help="The format of CORPUS: JSON lines or a MediaWiki export (also .gz and .bz2).",
)
@click.option(
    "--images", type=_PATH, metavar="DIR", help="The folder of images. Default: the folder of CORPUS."
)
@click.option("--no-text", is_flag=True, help="Index only images.")
@click.option("--no-images", is_flag=True, help="Index only text.")
@click.option(
    "--clip",
    default="openai/clip-vit-base-patch32",
    show_default=True,
    metavar="NAME",
    help="The CLIP model that encodes images: a name on the Hub or a folder.",
)
@click.option("--revision", help="The revision of the CLIP model on the Hub.")
@click.option(
    "--memory",
    type=click.IntRange(min=16),
    default=256,
    show_default=True,
    metavar="MB",
    help="Memory that the text index may use before it writes to disk.",
)
@device_option
@click.option("--prune", is_flag=True, help="Remove articles that are no longer in CORPUS.")
@click.option("--quiet", is_flag=True, help="No progress.")
def build_index(
    corpus: Path,
    out: Path,
    format_: str,
    images: Path | None,
    no_text: bool,
    no_images: bool,
    clip: str,
    revision: str | None,
    memory: int,
    device: str,
    prune: bool,
    quiet: bool,
) -> None:
    """Index the articles of CORPUS in the folder OUT.

    Paragraphs are searched with a sentence, and captioned images with a photo.

    To resume an interrupted build, run the same command again. OUT may already contain an index.
    Then new articles of CORPUS are added, and changed ones are replaced. Articles that are no longer in CORPUS stay in
    the index, unless --prune is given.
    """
    if not no_images:
        quiet_libraries()
    from mmkit_retrieval.indexing.build import build_index as build

    with console_display(quiet) as display:
        summary = build(
            corpus,
            out,
            format=format_,
            images=images,
            text=not no_text,
            pictures=not no_images,
            clip=clip,
            revision=revision,
            memory_bytes=memory << 20,
            device=device,
            prune=prune,
            progress=display.mmkit_progress,
        )
        for reason, count in summary.repairs.items():
            display.mmkit_note(f"{corpus}: {count:,} × {reason}")
        if summary.left:
            display.mmkit_note(
                f"{out}: {summary.left:,} × article kept that is no longer in {corpus}; remove with --prune"
            )
    _print_table(f"{out}: built in {summary.seconds:.0f} s", _rows_of(summary))


@retrieval.command()
@click.argument("index", type=_PATH)
@click.option("--text", help="A sentence.")
@click.option("--image", type=_PATH, help="An image.")
@click.option(
    "--top", type=click.IntRange(min=1), default=5, show_default=True, help="How many results to print."
)
@click.option("--clip", metavar="DIR", help="The folder of the CLIP model of the index, if it has moved.")
@click.option("--json", "json_", is_flag=True, help="Print one JSON object on each line.")
@device_option
def search(
    index: Path, text: str | None, image: Path | None, top: int, clip: str | None, json_: bool, device: str
) -> None:
    """Search the index INDEX for a sentence or an image."""
    if (text is None) == (image is None):
        raise click.UsageError("give either --text or --image")
    if text is not None:
        from mmkit_retrieval.text.text_index import TextIndex

        found = TextIndex.open(index / "text", check=False).search([text], top)[0]
    else:
        assert image is not None
        quiet_libraries()
        from mmkit_retrieval.pictures.image_search import find_like

        found = find_like(index / "images", image, top, clip, device)
    if json_:
        for hit in found:
            echo(as_json(asdict(hit), indent=None))
    else:
        _print_found(found)


@retrieval.command()
@click.argument("index", type=_PATH)
@click.option("--json", "json_", is_flag=True, help="As JSON.")
def info(index: Path, json_: bool) -> None:
    """Describe the index INDEX: its corpus, settings and size."""
    from mmkit_retrieval.indexing.index_folder import read_facts

    facts = read_facts(index)
    facts["bytes"] = sum(path.stat().st_size for path in index.rglob("*") if path.is_file())
    if json_:
        echo(as_json(facts))
        return
    rows = {name: f"{count:,}" for name, count in facts["counts"].items() if count or name == "articles"}
    rows |= {name: facts["settings"][name] for name in ("clip", "revision") if facts["settings"][name]}
    _print_table(str(index), {**rows, "corpus": facts["corpus"], "on disk": _size(facts["bytes"])})


@retrieval.command()
@click.argument("index", type=_PATH)
@click.argument("address")
@click.argument("collection")
@click.option("--quiet", is_flag=True, help="No progress.")
def upload(index: Path, address: str, collection: str, quiet: bool) -> None:
    """Copy the images of INDEX to a Milvus COLLECTION.

    ADDRESS is that of a Milvus server, or a file of milvus-lite. The collection then contains these images and no
    others. Credentials come from the environment variable MILVUS_TOKEN.
    """
    from mmkit_retrieval.pictures.image_index import ImageIndex
    from mmkit_retrieval.servers.milvus import upload as upload_pictures

    pictures = ImageIndex.open(index / "images")
    with console_display(quiet) as display:
        label = f"{collection} (images)"
        progress = display.mmkit_progress
        upload_pictures(
            pictures, address, collection, progress=lambda done, total: progress(label, done, total)
        )
    echo(f"{len(pictures):,} images of {index} are in the collection {collection}")


def _rows_of(summary: Summary) -> dict[str, str]:
    parts = {name: getattr(summary, name) for name in ("added", "changed", "unchanged", "removed", "left")}
    within = ", ".join(f"{count:,} {name}" for name, count in parts.items() if count)
    rows = {"articles": f"{summary.articles:,}" + (f" ({within})" if within else "")}
    if summary.paragraphs is not None:
        rows["paragraphs"] = f"{summary.paragraphs:,}"
    if summary.pictures is not None:
        bad = f" ({summary.unreadable:,} more cannot be read)" if summary.unreadable else ""
        rows["images"] = f"{summary.pictures:,}{bad}"
    return rows


def _print_table(title: str, rows: Mapping[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from mmkit.terminal.rendering import Terminal

    table = Table(title=escape(title), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(escape(name), escape(str(value)))
    Terminal().print(table)


def _print_found(found: Sequence[Retrieved]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from mmkit.terminal.rendering import Terminal

    table = Table("score", "article", "text", show_lines=True)
    for hit in found:
        texts = [hit.image, hit.caption, hit.text]
        shown = "\n".join(escape(text) for text in texts if text)
        table.add_row(f"{hit.score:.3f}", escape(f"{hit.title}\n{hit.id}"), shown)
    Terminal().print(table if found else "nothing found")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
