"""Checkpoints by name from the Hugging Face hub: `hf:owner/name` or `hf:owner/name@revision`.

Without a revision, the commit that the default branch points to at the first use is the one that every later use
reads. It is kept in the hub's cache, in PIN beside the files of that repository: delete it to move on. With a revision,
a branch, tag or full commit, that is what is read, and a branch may move.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rerankers.checkpoints import WEIGHT_FILES
from rerankers.errors import RerankError

log = logging.getLogger(__name__)

PREFIX = "hf:"
PIN = "rerankers-pin.json"

_PART = r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
_NAME = re.compile(rf"{PREFIX}(?P<repository>{_PART}/{_PART})(?:@(?P<revision>{_PART}(?:/{_PART})*))?", re.ASCII)
_COMMIT = re.compile("[0-9a-f]{40}")
_FILE = re.compile(r"[\w -][\w. -]*(/[\w -][\w. -]*)*", re.ASCII)


class Choice(NamedTuple):
    """A commit, and the file with the weights in it."""

    commit: str
    file: str


def fetch(name: str) -> Path:
    """The checkpoint file that `name` stands for, in the hub's cache; fetched if it is not there yet.

    Raises RerankError for a malformed name, a repository, revision or file that is not there or cannot be reached,
    and for a repository in which no file stands out as the checkpoint.
    """
    from huggingface_hub import hf_hub_download

    found = _NAME.fullmatch(name)
    if not found or ".." in name or "--" in found["repository"]:
        raise RerankError(
            f"checkpoint {name!r}",
            wanted=f"{PREFIX}OWNER/NAME, or {PREFIX}OWNER/NAME@REVISION",
            cure="Write e.g. hf:vislang/locore_dinov2_base.",
        )
    repository, revision = found["repository"], found["revision"]
    pinned = pinned_in(_folder(repository)) if revision is None else None
    commit, file = pinned or _choice(name, repository, revision)
    try:
        # a branch by its name, so that the cache learns where it points to
        path = Path(hf_hub_download(repository, file, revision=revision or commit))
    except Exception as error:  # which library speaks HTTP, and so what it raises, depends on the hub's version
        raise _unreachable(name, file, error) from error
    if revision is None and pinned is None:
        _pin(repository, Choice(commit, file))
    log.info("%s is %s of commit %s", name, file, commit)
    return path


def chosen_file(files: Iterable[str]) -> str | None:
    """The checkpoint among the files of a repository: the first there of WEIGHT_FILES, else its only .safetensors."""
    held = list(files)
    for name in WEIGHT_FILES:
        if name in held:
            return name
    others = [name for name in held if name.endswith(".safetensors")]
    return others[0] if len(others) == 1 else None


def _choice(name: str, repository: str, revision: str | None) -> Choice:
    """What the hub says now, or what its cache remembers when the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        told = HfApi().model_info(repository, revision=revision, timeout=20)
        commit, files = str(told.sha), [entry.rfilename for entry in told.siblings or ()]
    except Exception as error:  # see `fetch`
        cached = _in_cache(repository, revision or "main")
        if cached is None:
            raise _unreachable(name, "the list of files", error) from error
        commit, files = cached
        log.warning("%s cannot be asked for (%s): taken from the cache as it was", name, type(error).__name__)
    file = chosen_file(files)
    if file is None:
        raise RerankError(
            f"{name} with {', '.join(files[:20]) or 'no files'}{', ...' if len(files) > 20 else ''}",
            wanted=f"{', '.join(WEIGHT_FILES)} or a single .safetensors file",
            cure="Download the file or folder that is meant, and pass its path.",
        )
    return Choice(commit, file)


def _in_cache(repository: str, revision: str) -> tuple[str, list[str]] | None:
    """Commit and files of a revision as the cache holds them; None when it holds none."""
    folder = _folder(repository)
    commit = revision
    with suppress(OSError):
        commit = (folder / "refs" / revision).read_text(encoding="utf8").strip()
    snapshot = folder / "snapshots" / commit
    files = sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())
    return (commit, files) if files else None


def pinned_in(folder: Path) -> Choice | None:
    """What an earlier use settled on; None when there was none, or its file is damaged."""
    try:
        stored = json.loads((folder / PIN).read_text(encoding="utf8"))
        choice = Choice(stored["commit"], stored["file"])
        sound = _COMMIT.fullmatch(choice.commit) and _FILE.fullmatch(choice.file) and ".." not in choice.file
    except FileNotFoundError:
        return None
    except Exception:  # whatever JSON of another form leads to
        sound = None
    if not sound:
        log.warning("%s is damaged: the commit is looked up anew", folder / PIN)
        return None
    return choice


def _pin(repository: str, choice: Choice) -> None:
    """Written beside, flushed, renamed. A cache that cannot be written is no reason to stop."""
    path = _folder(repository) / PIN
    beside = path.with_name(f".{PIN}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf8") as file:
            json.dump(choice._asdict(), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        log.warning("%s cannot be written (%s): later runs may read another commit", path, error)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _folder(repository: str) -> Path:
    """Where the hub's cache keeps a model repository."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _unreachable(name: str, what: str, error: Exception) -> RerankError:
    from huggingface_hub import errors

    by_hand = "or download the file by hand and pass its path"
    cures: tuple[tuple[type[Exception], str], ...] = (
        (errors.GatedRepoError, f"Ask for access on its page and log in with `hf auth login`, {by_hand}."),
        (errors.RepositoryNotFoundError, f"Check the name; log in if it is private, {by_hand}."),
        (errors.RevisionNotFoundError, "Check the revision: a branch, a tag or a full commit."),
    )
    otherwise = (
        f"Try again with a network, {by_hand}. Offline, the cache must hold it: HF_HUB_CACHE says where that is, "
        "and HF_HUB_OFFLINE=1 saves waiting for the network."
    )
    reason = (str(error) or type(error).__name__).strip().splitlines()[0][:200]
    return RerankError(
        f"cannot fetch {what} of {name} ({type(error).__name__}: {reason})",
        wanted=f"https://huggingface.co/{name.removeprefix(PREFIX).partition('@')[0]}, or a copy in its cache",
        cure=next((cure for kind, cure in cures if isinstance(error, kind)), otherwise),
    )
