"""Reports of any size: re-rankers with lists and costs, and images for what the lists show."""

from __future__ import annotations

import cv2
import numpy as np

from bench.reporting.web import Pictures
from bench.results import Figure, RankedLists, Record
from tests.bench.reporting.examples import accuracy_record, cost_record

HEAD = 10
PROTOCOLS = ("easy", "medium", "hard")
#: A name and a note that would be a script, were they ever read as markup.
HOSTILE = "<script>document.title='taken'</script>"
NOTE = '<img src="x" onerror="document.title=\'taken\'">'


def lists(random: np.random.Generator, queries: int, pool: int, *, scored: bool = True) -> RankedLists:
    """Of every query ten images out of a pool of its own."""
    images, places, scores, labels = [], [], [], []
    for query in range(queries):
        drawn = random.choice(pool, HEAD, replace=False)
        images.append((query * pool + drawn).tolist())
        places.append((drawn + 1).tolist())
        scores.append(np.sort(random.normal(size=HEAD))[::-1].tolist() if scored else [None] * HEAD)
        labels.append("".join(random.choice(list("eh-j"), HEAD)))
    return RankedLists(first_stage_sha256="f" * 64, images=images, places=places, scores=scores, labels=labels)


def report(methods: int = 6, queries: int = 70, pool: int = 20, *, hostile: bool = False) -> list[Record]:
    """The first stage, `methods` others with costs, one without weights; and one whose name is a script."""
    random = np.random.default_rng(1)
    positives = [int(count) for count in random.integers(1, 45, queries)]
    base = {name: random.uniform(0.1, 0.7, queries) for name in PROTOCOLS}
    names = ["none:first-stage", *(f"method-{number}:default" for number in range(methods))]
    names += [HOSTILE] if hostile else []
    records: list[Record] = []
    for number, name in enumerate(names):
        shift = 0.0 if number == 0 else random.uniform(-0.02, 0.25)
        aps = {
            protocol: np.clip(values + (random.normal(shift, 0.1, queries) if number else 0), 0, 1).tolist()
            for protocol, values in base.items()
        }
        record = accuracy_record(name, aps, positives=positives, notes=[NOTE] if name == HOSTILE else [])
        scoring = "list-wise" if number % 3 == 2 else "pair-wise"
        kept = lists(random, queries, pool, scored=scoring == "pair-wise")
        ceilings = _ceilings(record) if number == 0 else {}
        records.append(
            record.model_copy(update={"scoring": scoring, "lists": kept, "figures": record.figures | ceilings})
        )
        figures = {
            "parameters": 0 if number == 0 else int(1e6 * (1 + number)),
            "latency_median_ms": float(2.0 ** random.integers(0, 10)),
            "delta_rss_bytes": int(2**20 * random.integers(1, 200)),
        }
        cost = cost_record(name, figures=figures)
        records.append(cost.model_copy(update={"scoring": scoring}))
    aps = {name: list(base[name]) for name in PROTOCOLS}
    untrained = accuracy_record("zz-untrained:default", aps, weights="random")
    return [*records, untrained]


def _ceilings(record: Record) -> dict[str, Figure]:
    found = {}
    for protocol in PROTOCOLS:
        reached = record.figures[f"map_{protocol}"].value or 0.0
        for place, depth in enumerate((100, 200, 400, 800), 1):
            found[f"oracle_map_{protocol}_at_{depth}"] = Figure(value=reached + (1 - reached) * place / 5)
            found[f"recall_ceiling_{protocol}_at_{depth}"] = Figure(value=place / 5)
    return found


def pictures(records: list[Record], *, colours: int | None = None) -> dict[str, Pictures]:
    """An image for whatever the lists show: noise that is as large as a photograph; of `colours` kinds only, if any."""
    random = np.random.default_rng(2)

    def image(side: int) -> bytes:
        noise = random.integers(0, 256, (side // 7, side // 6, 3), dtype=np.uint8)
        smooth = cv2.resize(noise, (side, side * 3 // 4))
        return cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()

    some = [image(86) for _ in range(colours)] if colours else []
    found: dict[str, Pictures] = {}
    for record in records:
        if record.lists is None:
            continue
        shown = sorted({number for row in record.lists.images for number in row})
        sha256 = record.key.model_dump()["dataset_sha256"]
        known = found.get(sha256)
        gallery = dict(known.gallery) if known else {}
        for number in shown:
            if number not in gallery:
                gallery[number] = some[number % len(some)] if some else image(86)
        queries = known.queries if known else [image(160) for _ in record.lists.images]
        found[sha256] = Pictures(
            queries=queries,
            gallery=gallery,
            query_names=[f"query-{number:03}.jpg" for number in range(len(record.lists.images))],
            gallery_names={number: f"{number:05}.jpg" for number in gallery},
        )
    return found
