"""Ground truth in the layout of Revisited Oxford and Paris, from JSON or from a pickle, and back to JSON.

    {"imlist": [gallery names], "qimlist": [query names],
     "gnd": [{"easy": [...], "hard": [...], "junk": [...], "bbx": [x1, y1, x2, y2]}, ...]}

with gallery indices from 0 and one entry of `gnd` per query. `bbx`, the query's box in pixels, may be missing or null.
Data sets without degrees of difficulty (INSTRE, GLDv2) have `ok` for all positives; they are read as `hard`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets import safe_pickle
from bench.errors import BenchError
from bench.files import write_text

log = logging.getLogger(__name__)

LABELS = ("easy", "hard", "junk")
#: No image has a side as long.
MOST_PIXELS = 1 << 31

Box = tuple[float, float, float, float]

# Empty, absolute, on a drive, with a step up, or with a zero byte: a name that could leave its folder. Or of half a
# character (JSON can say it), which no file has.
_UNSAFE_NAME = re.compile(r"^$|^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\0|[\ud800-\udfff]")


@dataclass(frozen=True, eq=False)
class QueryTruth:
    """What the gallery is to one query.

    easy, hard, junk: read-only int64 gallery indices, no image twice. box: (x1, y1, x2, y2) in pixels of the
    query image, or None for the whole image. transitive: those of `hard` that the query alone hardly shows, None
    where nobody says which they are.
    """

    easy: np.ndarray
    hard: np.ndarray
    junk: np.ndarray
    box: Box | None = None
    transitive: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """A gallery, queries, and the truth of each query; names are relative paths, with or without an extension."""

    gallery: tuple[str, ...]
    queries: tuple[str, ...]
    truths: tuple[QueryTruth, ...]


def read_ground_truth(
    path: Path, *, gallery: Sequence[str] | None = None, queries: Sequence[str] | None = None
) -> GroundTruth:
    """The ground truth in a `.json` file or, by any other suffix, in a pickle (read with an allow-list of types).

    gallery, queries: names where the file itself has none, as where they stand in lists beside it.

    `transitive` of an entry, a part of its `hard`, is kept; other unknown keys are let through, and so is a truth
    without queries: it is for training. BenchError for a file that cannot be read and for a truth that does not hold
    together: an empty gallery, lengths that differ, an index outside the gallery, an image under two labels, a name
    that is absolute or steps up.
    """
    document = read_json(path) if path.suffix == ".json" else safe_pickle.load(path)
    if isinstance(document, Mapping):
        listed = {"imlist": gallery, "qimlist": queries}
        document = {name: names for name, names in listed.items() if names is not None} | dict(document)
    return parsed(document, str(path))


def parsed(document: Any, source: str) -> GroundTruth:
    """The ground truth in a document of the layout; BenchError, which names the source, for one that does not hold."""
    try:
        return _ground_truth(document)
    except BenchError as error:
        raise BenchError(f"{source}: {error.seen}", wanted=error.wanted, cure=error.cure) from None


def write_ground_truth(path: Path, truth: GroundTruth, *, extra: Mapping[str, Sequence[Any]] | None = None) -> None:
    """Writes `truth` as JSON, atomically; the same truth gives the same bytes.

    extra: further fields of the queries, name -> one value for each query, which land in the entries of `gnd`.
    BenchError where `read_ground_truth` would refuse the result, and where the file cannot be written.
    """
    further = {} if extra is None else dict(extra)
    for name, values in further.items():
        if len(values) != len(truth.queries) or name in (*LABELS, "bbx", "transitive"):
            raise _flaw(
                f"the extra field {name!r} with {len(values)} values for {len(truth.queries)} queries",
                wanted="a new name, and one value for each query",
            )
    document = _document(_ground_truth(_document(truth)))
    for name, values in further.items():
        for entry, value in zip(document["gnd"], values, strict=True):
            entry[name] = value
    write_text(path, json.dumps(document, default=_plain, allow_nan=False, separators=(",", ":")) + "\n")
    log.info("wrote the ground truth of %d queries to %s", len(truth.queries), path)


def _document(truth: GroundTruth) -> dict[str, Any]:
    """`truth` in the layout of the file."""
    entries = [
        {"bbx": one.box, **{label: getattr(one, label) for label in LABELS}}
        | ({} if one.transitive is None else {"transitive": one.transitive})
        for one in truth.truths
    ]
    return {"imlist": truth.gallery, "qimlist": truth.queries, "gnd": entries}


def _plain(value: Any) -> Any:
    """numpy values as JSON knows them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in a ground truth")


def read_json(path: Path) -> Any:
    """The document in a JSON file; BenchError for a missing or damaged one."""
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise BenchError(
            f"cannot read {path} ({error.strerror})",
            wanted="a ground truth file",
            cure="Check the path; the layout is described in bench.datasets.ground_truth.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise BenchError(
            f"{path} is not JSON ({error!s:.200})", wanted="a JSON object", cure="Write it again."
        ) from error


def _ground_truth(document: Any) -> GroundTruth:
    if not isinstance(document, Mapping):
        raise _flaw(f"a {type(document).__name__} at the top", wanted="an object with imlist, qimlist and gnd")
    gallery, queries = (safe_names(document.get(key), key) for key in ("imlist", "qimlist"))
    if not gallery:
        raise _flaw("imlist that is empty", wanted="at least one image name")
    if len(set(gallery)) < len(gallery):
        raise _flaw(f"imlist with {len(gallery) - len(set(gallery))} repeated names", wanted="each image once")
    entries = document.get("gnd")
    if not isinstance(entries, list | tuple) or len(entries) != len(queries):
        raise _flaw(
            f"gnd as {type(entries).__name__}{f' of {len(entries)}' if isinstance(entries, list | tuple) else ''}",
            wanted=f"a list with one entry for each of the {len(queries)} queries",
        )
    truths = tuple(_query_truth(entry, query, len(gallery)) for query, entry in enumerate(entries))
    return GroundTruth(gallery, queries, truths)


def safe_names(names: Any, what: str) -> tuple[str, ...]:
    """Image names as they stand in a list called `what`; BenchError for what is no name, or leads out of a folder."""
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise _flaw(f"{what} that is no list of names", wanted="a list of image names")
    for name in names:
        if _UNSAFE_NAME.search(name):
            raise _flaw(f"the name {name[:200]!r} in {what}", wanted="names relative to the folder, without '..'")
    return tuple(str(name) for name in names)


def _query_truth(entry: Any, query: int, gallery_size: int) -> QueryTruth:
    if not isinstance(entry, Mapping):
        raise _flaw(f"gnd entry {query} as {type(entry).__name__}", wanted="an object with easy, hard and junk")
    if "ok" in entry and "hard" not in entry:
        entry = {"easy": (), "junk": (), **entry, "hard": entry["ok"]}
    labelled = {label: _indices(entry.get(label), f"{label} of query {query}", gallery_size) for label in LABELS}
    together = np.concatenate(list(labelled.values()))
    images, counts = np.unique(together, return_counts=True)
    if images.size < together.size:
        raise _flaw(
            f"image {images[counts > 1][0]} more than once in query {query}", wanted="each image under one label"
        )
    transitive = None
    if entry.get("transitive") is not None:
        transitive = _indices(entry["transitive"], f"transitive of query {query}", gallery_size)
        if not np.isin(transitive, labelled["hard"]).all():
            raise _flaw(f"transitive of query {query} with images that are not hard", wanted="a part of hard")
    return QueryTruth(**labelled, box=_box(entry.get("bbx"), query), transitive=transitive)


def _indices(values: Any, what: str, gallery_size: int) -> np.ndarray:
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(listed, list | tuple) or not all(_is_integer(value) for value in listed):
        raise _flaw(f"{what} as {type(values).__name__}", wanted="a list of gallery indices")
    if listed and not 0 <= min(listed) <= max(listed) < gallery_size:
        raise _flaw(f"{what} from {min(listed)} to {max(listed)}", wanted=f"indices from 0 to {gallery_size - 1}")
    indices = np.array(listed, dtype=np.int64)
    indices.setflags(write=False)
    return indices


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _box(values: Any, query: int) -> Box | None:
    if values is None:
        return None
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    numbers = isinstance(listed, list | tuple) and all(_is_integer(v) or isinstance(v, float) for v in listed)
    if not numbers or len(listed) != 4 or not all(-MOST_PIXELS < v < MOST_PIXELS for v in listed):
        # without the values: the text of lists in lists may be longer than all memory
        raise _flaw(f"bbx as {type(values).__name__} of query {query}", wanted="four numbers x1, y1, x2, y2")
    left, top, right, bottom = (float(value) for value in listed)
    if not (left < right and top < bottom):
        raise _flaw(f"bbx {listed} of query {query}", wanted="x1 < x2 and y1 < y2")
    return left, top, right, bottom


def _flaw(seen: str, *, wanted: str) -> BenchError:
    return BenchError(seen, wanted=wanted, cure="Correct the ground truth, or fetch it again.")
