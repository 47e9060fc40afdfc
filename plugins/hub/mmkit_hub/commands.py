"""The commands `mmkit package` and `mmkit push`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mmkit.terminal import echo


@click.command()
@click.argument("run")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--license", "licence", default="", metavar="ID", help="Its identifier on the Hub, such as apache-2.0."
)
@click.option("--language", "languages", multiple=True, metavar="CODE", help="Such as en; may be repeated.")
@click.option(
    "--dataset", "datasets", multiple=True, metavar="NAME", help="A data set on the Hub; may be repeated."
)
@click.option(
    "--entities-license",
    "entities_licence",
    default="",
    metavar="ID",
    help="Include the knowledge base (its texts), which has this licence.",
)
@click.option("--with-frozen", is_flag=True, help="Include frozen networks that the run takes by name.")
@click.option(
    "--with-examples",
    is_flag=True,
    help="Include the training examples and photos that the run itself holds.",
)
@click.option("--force", is_flag=True, help="Replace the package that is there.")
def package(
    run: str,
    out: Path,
    licence: str,
    languages: tuple[str, ...],
    datasets: tuple[str, ...],
    entities_licence: str,
    with_frozen: bool,
    with_examples: bool,
    force: bool,
) -> None:
    """Make a package of the trained model in RUN, in the new folder OUT, for `mmkit push` or to give to somebody.

    It holds what is needed to predict, and a model card to complete: weights, recipe, labels, tokenizers. Paths of this
    machine are taken out. Data, images and checkpoints stay where they are, and a knowledge base unless you say its
    licence. A run that itself holds training examples, to show them to a model, needs --with-examples.
    """
    from mmkit.cli.options import quiet_libraries
    from mmkit_hub.card import TO_FILL_IN, Wishes
    from mmkit_hub.package import make_package

    quiet_libraries()
    wishes = Wishes(licence, languages, datasets, entities_licence)
    made = make_package(
        run, out, wishes=wishes, force=force, with_frozen=with_frozen, with_examples=with_examples
    )
    for note in made.notes:
        echo(note, err=True)
    size = sum(entry["bytes"] for entry in made.files.values())
    echo(f"the package is in {out}: {len(made.files)} files, {size / 1e6:,.1f} MB")
    echo(f"now complete {out / 'README.md'} ({TO_FILL_IN}), and then: mmkit push {out} USER/NAME")


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("repository", metavar="USER/NAME")
@click.option(
    "--public", is_flag=True, help="Let everybody see it. Without this, a new repository is private."
)
def push(out: Path, repository: str, public: bool) -> None:
    """Upload the package in OUT to the Hugging Face Hub, as the model USER/NAME.

    The token is that of HF_TOKEN or of `hf auth login`. HF_ENDPOINT may name another server than the Hub's own. A new
    repository is private unless you say --public.
    """
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # public, but not listed

    from mmkit_hub.push import push as upload

    if not sys.stderr.isatty():
        disable_progress_bars()
    address = upload(out, repository, public=public, note=lambda message: echo(message, err=True))
    echo(f"uploaded ({'public' if public else 'private'}); to load it: mmkit.load({str(address)!r})")
