from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import rerankers
from bench.measure.flops import count
from bench.parity.case import Case
from bench.parity.run import run_case
from rerankers import Features, RerankError
from rerankers.locore import VARIANTS, Locore, LocoreConfig
from rerankers.locore.entry import pool
from tests.rerankers.locore.naive_locore import naive_locore
from tests.support import altered, golden

SMALL = LocoreConfig(
    local_dim=16, global_dim=12, width=32, heads=4, hidden=64, windows=(16, 8, 64), table=220, pooling="max-sum"
)
CONFIGS = {
    "as published": replace(SMALL, pooling="max-end"),
    "every token scored": SMALL,
    "the first token scored": replace(SMALL, pooling="max-start"),
    "their product": replace(SMALL, pooling="max-prod"),
    "query not global": replace(SMALL, query_global=False),
    "query not global, last token": replace(SMALL, query_global=False, pooling="max-end"),
    "a place an image": replace(SMALL, positions="segment"),
    "no places": replace(SMALL, positions="none"),
    "unit length": replace(SMALL, normalize=True),
    "no global descriptors": replace(SMALL, reads_global=False),
    "bottleneck": replace(SMALL, bottleneck=5),
    "bottleneck with an activation": replace(SMALL, bottleneck=5, activation="gelu"),
    "as wide as tokens": replace(SMALL, local_dim=32, global_dim=32),
    "mapped though as wide": replace(SMALL, local_dim=32, global_dim=32, force_linear=True),
    "one layer": replace(SMALL, windows=(16,)),
    "scales in pixels": replace(SMALL, scale_bounds=(0.5, 1.5)),
}


def locore(config: LocoreConfig = SMALL, *, seed: int = 0, **options) -> Locore:
    torch.manual_seed(seed)
    made = Locore(config, **options)
    for name, parameter in made.network.named_parameters():
        if not name.endswith("LayerNorm.weight"):  # zeros and small numbers would hide what is forgotten
            torch.nn.init.normal_(parameter, std=0.3)
    return made


def images(count_: int, length: int = 5, *, seed: int = 1, config: LocoreConfig = SMALL, padded: bool = False):
    draw = torch.Generator().manual_seed(seed)
    shape = count_, length
    return Features(
        global_=torch.randn(count_, config.global_dim, generator=draw),
        local=torch.randn(*shape, config.local_dim, generator=draw),
        scale=torch.randint(config.scales, shape, generator=draw),
        valid=torch.rand(*shape, generator=draw) < 0.7 if padded else torch.ones(shape, dtype=torch.bool),
    )


def score(made: Locore, query: Features, candidates: Features) -> torch.Tensor:
    return made.ranking(query, candidates, torch.zeros(len(candidates))).key


@pytest.mark.parametrize("name", ["locore-abs", "locore-bottleneck", "locore-global", "locore-train"])
def test_reference_cases(name):
    report = run_case(Case.read(golden(name)))
    assert report.verdict == "ok", report


@pytest.mark.parametrize(
    ("name", "output"), [("locore-abs", "token_logits"), ("locore-global", "max-end_raw"), ("locore-train", "loss")]
)
def test_a_wrong_output_is_seen(tmp_path, name, output):
    def change(outputs):
        outputs[output] = outputs[output] + 1e-2

    report = run_case(altered(tmp_path, name, change))
    assert report.verdict == "off" and report.worst.output == output


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("padded", [False, True])
def test_scores_are_those_of_transformers_longformer(config, padded):
    made = locore(config)
    query, candidates = (images(n, seed=n, config=config, padded=padded) for n in (1, 20))
    with torch.inference_mode():
        wanted = naive_locore(made, query, candidates)
    torch.testing.assert_close(score(made, query, candidates), wanted, atol=5e-6, rtol=2e-5)


@pytest.mark.parametrize("pooling", ["max-prod", "max-sum", "max-start", "max-end"])
def test_the_last_layer_leaves_out_only_what_is_not_read(pooling):
    made = locore(replace(SMALL, pooling=pooling))
    lists = made.joined(images(1, padded=True), images(7, seed=2, padded=True))
    with torch.inference_mode():
        logits = made.network(lists).unflatten(1, (8, -1))[:, 1:, :-1]
        torch.testing.assert_close(made.network.scores(lists), pool(logits, pooling), atol=1e-5, rtol=1e-5)


def test_lists_go_together_as_they_go_alone(monkeypatch):
    made = locore()
    lists = [
        (images(1, seed=n, padded=True), images(k, seed=50 + n, padded=True)) for n, k in enumerate((6, 9, 6, 1, 9, 6))
    ]
    alone = [score(made, *one) for one in lists]
    for at_once in (1, 2, 100):
        monkeypatch.setattr("rerankers.locore.reranker.pairs_at_once", lambda tokens, device, n=at_once: n)
        together = made.rankings([(*one, torch.zeros(len(one[1]))) for one in lists])
        for found, wanted in zip(together, alone, strict=True):
            torch.testing.assert_close(found.key, wanted, atol=1e-5, rtol=1e-5)


def test_candidates_behind_the_window_keep_their_place():
    made, query, candidates = locore(window=4), images(1), images(9, seed=2)
    ranking = made.ranking(query, candidates, torch.zeros(9))
    assert ranking.order[4:].tolist() == [4, 5, 6, 7, 8]
    assert torch.equal(ranking.key[:4], score(made, query, candidates[:4]))


def test_fewer_descriptors_are_padded():
    made, query, candidates = locore(locals_=8), images(1, 5), images(3, 7, seed=2)
    more = [
        Features(
            global_=one.global_,
            local=torch.nn.functional.pad(one.local, (0, 0, 0, 8 - one.local.shape[1])),
            scale=torch.nn.functional.pad(one.scale, (0, 8 - one.scale.shape[1])),
            valid=torch.nn.functional.pad(one.valid, (0, 8 - one.valid.shape[1])),
        )
        for one in (query, candidates)
    ]
    assert torch.equal(score(made, query, candidates), score(made, *more))


def test_images_without_descriptors_are_scored():
    made, query, candidates = locore(), images(1), images(5, seed=2)
    for one, others in (
        (query, replace(candidates, valid=torch.zeros_like(candidates.valid))),
        (replace(query, valid=torch.zeros_like(query.valid)), candidates),
    ):
        found = score(made, one, others)
        with torch.inference_mode():
            torch.testing.assert_close(found, naive_locore(made, one, others), atol=5e-6, rtol=2e-5)
        assert len(found.unique()) == 5


def test_padding_changes_its_own_token_only():
    made, query, candidates = locore(replace(SMALL, pooling="max-start")), images(1), images(5, seed=2, padded=True)
    candidates.valid[:, 0] = True
    blanked = replace(candidates, local=torch.where(candidates.valid[..., None], candidates.local, 7.0))
    assert torch.equal(score(made, query, candidates), score(made, query, blanked))


def test_no_tensor_grows_with_the_square_of_the_list():
    """Twice the candidates: twice the largest tensor, or less. A mask or a matrix of all tokens would be four times."""

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            for one in tree_leaves(found):
                if isinstance(one, torch.Tensor):
                    self.numel = max(self.numel, one.numel())
            return found

    made = locore(replace(SMALL, table=2000))
    sizes = []
    for candidates in (100, 200):
        query, others = images(1, 6), images(candidates, 6, seed=2)
        score(made, query, others)  # masks of its blocks are made once
        with Largest() as largest:
            score(made, query, others)
        sizes.append(largest.numel)
    assert sizes[1] < 2.1 * sizes[0], sizes


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_published_sizes(size):
    full = json.loads((golden("locore") / "full_size.json").read_text())["variants"][size]
    counted = {
        f"{size}{suffix}": sum(p.numel() for p in VARIANTS[f"{size}{suffix}"].make().module().parameters())
        for suffix in ("", "-sum", "-1024")
    }
    of_the_paper = full["counts_by_projection_and_table"]["local 1024, global 1024, 5122 positions"]
    assert counted == {
        size: full["parameters"],
        f"{size}-sum": full["parameters"],
        f"{size}-1024": of_the_paper["parameters"],
    }
    assert of_the_paper["rounds_to_paper"]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("padded", [False, True])
def test_closed_form_is_what_runs(config, padded):
    made = locore(config)
    query, candidates = (images(n, 6, seed=n, config=config, padded=padded) for n in (1, 25))
    form = made.closed_form(query, candidates)
    counted = count(lambda: score(made, query, candidates), closed_form=form.executed)
    assert counted.verdict == "agree", counted.explanation
    assert {one.name for one in counted.witnesses if one.flops} == {"dispatcher", "deepspeed", "closed form"}
    assert form.algorithmic < form.executed


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        (SMALL, {"local": torch.zeros(3, 5, 8)}, "one width"),
        (replace(SMALL, local_dim=99), {}, "local descriptors 16 wide"),
        (replace(SMALL, global_dim=99), {}, "global descriptors 12 wide"),
        (SMALL, {"scale": torch.full((3, 5), 3)}, "scale indices from 3 to 3"),
        (replace(SMALL, table=20), {}, "4 images and 28 tokens.*at most 18 tokens"),
        (replace(SMALL, table=5, positions="segment"), {}, "at most 3 images"),
    ],
)
def test_what_does_not_fit_is_refused(config, changes, words):
    with pytest.raises(RerankError, match=words):
        score(locore(config), images(1), replace(images(3, seed=2), **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"windows": (7,)}, "even windows"),
        ({"windows": ()}, "at least one layer"),
        ({"heads": 5}, "the heads divide"),
        ({"scale_bounds": (1.0,)}, "1 bounds between 3 scales"),
    ],
)
def test_networks_that_cannot_be_are_refused(changes, words):
    with pytest.raises(RerankError, match=words):
        replace(SMALL, **changes)


def test_checkpoints_load_from_file_and_folder(tmp_path):
    made = VARIANTS["tiny"].make()
    state = {name: torch.randn_like(value) for name, value in made.network.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    torch.save(state, tmp_path / "pytorch_model.bin")
    for path in (tmp_path, tmp_path / "model.safetensors", tmp_path / "pytorch_model.bin"):
        loaded = rerankers.build("locore:tiny", checkpoint=path)
        assert torch.equal(loaded.network.longformer.sep_embedding, state["language_model.longformer.sep_embedding"])


def test_a_checkpoint_of_another_size_names_its_keys(tmp_path):
    save_file(VARIANTS["tiny"].make().network.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(RerankError, match="missing: language_model.longformer.encoder.layer.4.*misshapen"):
        rerankers.build("locore:small", checkpoint=tmp_path)


def test_reduced_precision_runs():
    made, query, candidates = locore(), images(1), images(9, seed=2)
    exact = score(made, query, candidates)
    made.dtype = torch.bfloat16
    found = score(made, query, candidates)
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, atol=0.3, rtol=0.2)
