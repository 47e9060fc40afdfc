"""Uploads a package to the Hub: the files that it lists and its card, in one commit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard

from mmkit.errors import RunError, one_line
from mmkit.runs.folder import Run
from mmkit_hub import hub
from mmkit_hub.address import Address, is_commit, is_repository
from mmkit_hub.card import NO_LICENCE, TO_FILL_IN
from mmkit_hub.contents import CARD, RUN_JSON, listed

Note = Callable[[str], None]


def push(
    folder: str | Path, repository: str, *, public: bool = False, note: Note = lambda message: None
) -> Address:
    """Upload a package to `user/name`, a private repository unless `public`. Returns its address with the commit.

    Raises `RunError` for a folder that is no package, for a card without a licence (if it would be public), without a
    token, and for what the Hub refuses. `note` is told what is not uploaded, and what is still to be filled in.
    """
    if not is_repository(repository):
        raise RunError(
            "this is no name of a repository on the Hub",
            where=repository[:200],
            hint="name a user or an organization, and a model: user/name",
            code="hub.repository",
        )
    place = Path(folder)
    names = _checked(place, public, note)
    endpoint = hub.endpoint()
    token = hub.token_for(endpoint)
    if token is None:
        raise RunError(
            "there is no token for the Hub",
            where=endpoint,
            hint="set HF_TOKEN to a token with write access, or log in: hf auth login",
            code="hub.no-token",
        )
    hub.check_allowed(endpoint)
    api = HfApi(endpoint=endpoint, token=token)
    where = f"hf://{repository}"
    _make_repository(api, repository, public, note)
    added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(place / name)) for name in names]
    seconds = hub.PATIENCE + sum((place / name).stat().st_size for name in names) / hub.SLOWEST
    asked = partial(
        api.create_commit,
        repository,
        operations=added,
        commit_message="Upload a run of mmkit",
        revision="main",
    )
    with hub.explained(where):
        commit = hub.within(seconds, asked, where).oid
    if not is_commit(commit):
        raise RunError(
            "the server does not say which commit it made",
            where=where,
            hint="look at the repository on the Hub",
            code="hub.wrong-answer",
        )
    return Address(repository, commit)


def _checked(folder: Path, public: bool, note: Note) -> list[str]:
    """The files to upload, after all checks that need no network."""
    run = Run(folder)
    if not run.json_file.is_file():
        raise RunError(
            "this is no package of a run" if folder.is_dir() else "there is no such folder",
            where=folder,
            hint="`mmkit package RUN OUT` makes one",
            code="hub.no-package",
        )
    names = [file.name for file in listed(run.facts(), folder)]
    run.check()
    names = [CARD, RUN_JSON, *names]
    for name in names:
        path = folder / name
        if not path.is_file() or path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
            raise RunError(
                f"{name} is a link" if path.is_symlink() or path.is_file() else f"{name} is missing",
                where=folder,
                hint="make the package again: mmkit package RUN OUT --force",
                code="hub.incomplete",
            )
    _check_card(folder / CARD, public, note)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if others := sorted(found - set(names)):
        more = f", and {len(others) - 10:,} more" if len(others) > 10 else ""
        note(f"not uploaded, because the package does not list it: {', '.join(others[:10])}{more}")
    return names


def _check_card(card: Path, public: bool, note: Note) -> None:
    try:
        licence = ModelCard.load(card).data.get("license")
        text = card.read_text(encoding="utf-8")
    except Exception as error:  # a parser's
        raise RunError(
            f"the front matter of the card cannot be read: {one_line(error)[:200]}",
            where=card,
            hint="correct the YAML between the two lines ---",
            code="hub.card",
        ) from error
    if licence in (None, "", NO_LICENCE):
        if public:
            raise RunError(
                "the card names no licence, so nobody may use what would be public",
                where=card,
                hint="write its identifier into `license` at the top (such as apache-2.0), or push without --public",
                code="hub.no-licence",
            )
        note(
            f"{card}: no licence yet; write its identifier into `license` before you make the repository public"
        )
    if left := text.count(TO_FILL_IN):
        note(f"{card}: {left} places still say {TO_FILL_IN}")


def _make_repository(api: HfApi, repository: str, public: bool, note: Note) -> None:
    """Make the repository, or see that the one that is there is as public as the user thinks."""
    where = f"hf://{repository}"
    make = partial(api.create_repo, repository, private=not public, exist_ok=True)
    look = partial(api.model_info, repository, timeout=hub.ANSWER)
    with hub.explained(where):
        hub.within(hub.PATIENCE, make, where)
        private = hub.within(hub.PATIENCE, look, where).private
    if not public and private is not True:
        raise RunError(
            "the repository is public, so everybody would see the package",
            where=where,
            hint="add --public if they may; else name another repository, or make this one private on the Hub",
            code="hub.is-public",
        )
    if public and private:
        note(f"{where} is private and stays so: change it in its settings on the Hub")
