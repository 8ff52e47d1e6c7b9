from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from rerankers import RerankError
from rerankers.locore import LocoreConfig, parallel
from rerankers.locore.entry import Lists
from rerankers.locore.layout import Layout
from rerankers.locore.model import LocoreNetwork

CONFIG = LocoreConfig(
    local_dim=16, global_dim=12, width=32, heads=4, hidden=64, windows=(16, 64, 8), table=500, pooling="max-sum"
)
CONFIGS = {
    "every token scored": CONFIG,
    "one token scored": replace(CONFIG, pooling="max-end"),
    "query not global": replace(CONFIG, query_global=False),
    "query not global, one token": replace(CONFIG, query_global=False, pooling="max-start"),
}
PROCESSES = 3


def network(config: LocoreConfig) -> LocoreNetwork:
    torch.manual_seed(0)
    made = LocoreNetwork(config).eval()
    for name, parameter in made.named_parameters():
        if not name.endswith("LayerNorm.weight"):
            torch.nn.init.normal_(parameter, std=0.3)
    return made


def lists(candidates: int, *, padded: bool) -> Lists:
    draw = torch.Generator().manual_seed(candidates)
    shape = 2, candidates + 1, 5
    return Lists(
        torch.randn(*shape, 16, generator=draw),
        torch.randint(3, shape, generator=draw),
        torch.rand(*shape, generator=draw) < 0.7 if padded else None,
        torch.randn(2, candidates + 1, 12, generator=draw),
    )


def work(rank: int, folder: str, candidates: tuple[int, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    found = {
        (name, count, padded): parallel.scores(network(config), lists(count, padded=padded)).detach()
        for name, config in CONFIGS.items()
        for count in candidates
        for padded in (False, True)
    }
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_several_processes_give_the_scores_of_one():
    candidates = (3, 7, 12)  # one image a process, uneven shares, and windows that reach over several shares
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(work, (folder, candidates), nprocs=PROCESSES, start_method="spawn")
        found = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(PROCESSES)]
    for (name, count, padded), scores in found[0].items():
        with torch.inference_mode():
            wanted = network(CONFIGS[name]).scores(lists(count, padded=padded))
        assert wanted.std() > 0.05
        for one in found:
            torch.testing.assert_close(one[name, count, padded], scores, atol=0, rtol=0)
        torch.testing.assert_close(scores, wanted, atol=1e-5, rtol=1e-5)
    assert len(found[0]) == len(CONFIGS) * len(candidates) * 2


def test_every_image_is_held_once():
    for images, processes in ((9, 1), (9, 2), (9, 8), (101, 7)):
        shares = parallel.shared_out(Layout(images, 4, True), processes)
        held = [image for share in shares for image in range(share.start, share.stop)]
        assert held == list(range(images - 1)) and max(s.stop - s.start for s in shares) <= -(-images // processes)


def test_more_processes_than_images_are_refused():
    with pytest.raises(RerankError, match="2 images on 3 processes"):
        parallel.shared_out(Layout(3, 4, True), 3)
