"""Start weights: made-up encoders of the same layout as the published ones, tables worked out by hand."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import LongformerConfig, LongformerModel, RobertaConfig, RobertaModel

from rerankers import RerankError
from rerankers.locore.start import ENCODER, extended, start, start_state

SIZES = {
    "vocab_size": 11,
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 10,
    "pad_token_id": 1,
}
TABLE = "embeddings.position_embeddings.weight"


def longformer(**changes):
    torch.manual_seed(0)
    return LongformerModel(LongformerConfig(**(SIZES | {"type_vocab_size": 1, "attention_window": 4} | changes)))


def roberta(**changes):
    torch.manual_seed(1)
    return RobertaModel(RobertaConfig(**(SIZES | changes)))


class Network(nn.Module):
    """What LOCORE's module holds, from the same library that the official one is made of."""

    def __init__(self, layers: int = 2, positions: int = 14, **changes) -> None:
        super().__init__()
        sizes = {"num_hidden_layers": layers, "max_position_embeddings": positions} | changes
        encoder = longformer(**sizes)
        width = encoder.config.hidden_size
        del encoder.embeddings.word_embeddings, encoder.pooler
        encoder.sep_embedding, encoder.pad_embedding = (nn.Parameter(torch.zeros(width)) for _ in range(2))
        self.language_model = nn.Module()
        self.language_model.longformer = encoder
        self.language_model.classifier = nn.Linear(width, 2)
        self.local_to_lm, self.scale_encoder = nn.Linear(5, width), nn.Embedding(3, width)


@pytest.mark.parametrize("prefix", ["", "longformer."])
def test_a_longformer_gives_everything_but_what_reads_descriptors(prefix):
    source = longformer().state_dict()
    given = {prefix + name: value for name, value in source.items()} | {"lm_head.bias": torch.zeros(11)}
    state = start_state(given, layers=2, positions=14)
    fresh = ("language_model.classifier", "local_to_lm", "scale_encoder")
    assert state.keys() == {name for name in Network().state_dict() if not name.startswith(fresh)}
    for name in ("sep", "pad"):
        row = {"sep": 2, "pad": 1}[name]
        assert torch.equal(state[f"{ENCODER}{name}_embedding"], source["embeddings.word_embeddings.weight"][row])
    own = [name for name in source if name.startswith(("encoder.layer.0", "encoder.layer.1", "embeddings.LayerNorm"))]
    assert len(own) == 2 * 22 + 2
    assert all(torch.equal(state[ENCODER + name], source[name]) for name in own)
    key = "encoder.layer.1.attention.self.key"
    assert not torch.equal(state[f"{ENCODER}{key}_global.weight"], state[f"{ENCODER}{key}.weight"])


@pytest.mark.parametrize("prefix", ["", "roberta."])
def test_a_roberta_lends_its_projections_to_the_global_ones(prefix):
    source = roberta(type_vocab_size=2).state_dict()
    state = start_state({prefix + name: value for name, value in source.items()}, layers=3, positions=10)
    for projection in ("query", "key", "value"):
        for kind in ("weight", "bias"):
            name = f"encoder.layer.2.attention.self.{projection}"
            assert torch.equal(state[f"{ENCODER}{name}_global.{kind}"], source[f"{name}.{kind}"])
    assert torch.equal(state[ENCODER + TABLE], source[TABLE])
    types = "embeddings.token_type_embeddings.weight"
    assert torch.equal(state[ENCODER + types], source[types][:1])


def test_start_weights_share_no_memory():
    source = roberta().state_dict()
    state = start_state(source, layers=1, positions=10)
    pointers = [value.untyped_storage().data_ptr() for value in state.values()]
    assert len(set(pointers)) == len(pointers)
    assert not set(pointers) & {value.untyped_storage().data_ptr() for value in source.values()}
    assert state[f"{ENCODER}sep_embedding"].untyped_storage().nbytes() == 8 * 4


TINY_TABLE = torch.tensor([[-1.0, -1], [-2, -2], [0, 8], [4, 4], [8, 0]])


def test_interpolation_by_hand():
    table = extended(TINY_TABLE, 7)
    assert table.tolist() == [[-1, -1], [-2, -2], [0, 8], [2, 6], [4, 4], [6, 2], [8, 0]]
    thirds = torch.tensor([[0, 8], [8 / 3, 16 / 3], [16 / 3, 8 / 3], [8, 0]])
    torch.testing.assert_close(extended(TINY_TABLE, 6)[2:], thirds, rtol=0, atol=1e-6)
    assert extended(TINY_TABLE, 4)[2:].tolist() == [[0, 8], [8, 0]]
    assert extended(TINY_TABLE, 3)[2:].tolist() == [[0, 8]]


def test_tiling_by_hand():
    first, middle, last = [0, 8], [4, 4], [8, 0]
    table = extended(TINY_TABLE, 10, "tiling")
    assert table.tolist() == [[-1, -1], [-2, -2], first, middle, last, first, middle, last, first, middle]
    assert extended(TINY_TABLE, 4, "tiling").tolist() == [[-1, -1], [-2, -2], first, middle]


@pytest.mark.parametrize("extension", ["interpolation", "tiling"])
def test_a_table_of_that_size_stays_to_the_bit(extension):
    table = torch.randn(10, 8)
    assert torch.equal(extended(table, 10, extension), table)
    assert torch.equal(extended(table.half(), 10, extension), table.half())


@pytest.mark.parametrize("rows, positions", [(4098, 5122), (514, 5122), (514, 514 * 3), (5122, 4098)])
def test_the_ends_of_an_interpolated_table_are_the_ends_of_its_source(rows, positions):
    source = torch.randn(rows, 3, generator=torch.Generator().manual_seed(rows))
    table = extended(source, positions)
    assert table.shape == (positions, 3)
    assert table.dtype == source.dtype
    assert torch.equal(table[:3], source[:3])
    assert torch.equal(table[-1], source[-1])
    expected = nn.functional.interpolate(
        source[2:].double().T[None], size=positions - 2, mode="linear", align_corners=True
    )[0].T
    torch.testing.assert_close(table[2:].double(), expected, rtol=0, atol=1e-6)


def test_a_table_of_one_position_repeats_it():
    one = TINY_TABLE[:3]
    assert extended(one, 5)[2:].tolist() == extended(one, 5, "tiling")[2:].tolist() == [[0, 8]] * 3


@pytest.mark.parametrize(
    "table, positions, extension, words",
    [
        (TINY_TABLE[:2], 9, "tiling", r"a position table \(2, 2\) for 9 rows"),
        (TINY_TABLE, 2, "interpolation", "for 2 rows"),
        (torch.zeros(9), 12, "interpolation", r"\(9,\)"),
        (TINY_TABLE, 9, "cubic", "extension 'cubic'; wanted interpolation or tiling"),
    ],
)
def test_tables_that_cannot_be_extended(table, positions, extension, words):
    with pytest.raises(RerankError, match=words):
        extended(table, positions, extension)


@pytest.mark.parametrize("as_folder", [True, False])
def test_start_fills_a_network_and_leaves_the_rest(tmp_path, as_folder):
    encoder, network = longformer(), Network()
    save_file(encoder.state_dict(), tmp_path / "model.safetensors")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    start(network, tmp_path if as_folder else tmp_path / "model.safetensors")
    expected = start_state(encoder.state_dict(), layers=2, positions=14)
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected.get(name, before[name])), name
    assert network.language_model.longformer.sep_embedding.abs().sum() > 0


def test_start_of_a_pickled_roberta_with_tiling(tmp_path):
    source = roberta()
    torch.save(
        {f"roberta.{name}": value for name, value in source.state_dict().items()}, tmp_path / "pytorch_model.bin"
    )
    network = Network(layers=3, positions=20)
    start(network, tmp_path, extension="tiling")
    table = network.state_dict()[ENCODER + TABLE]
    assert torch.equal(table, extended(source.state_dict()[TABLE], 20, "tiling"))


@pytest.mark.parametrize(
    "sizes, words",
    [
        ({"hidden_size": 16}, r"misshapen: .*self\.key\.bias \(8,\) for \(16,\)"),
        ({"intermediate_size": 20}, r"misshapen: .*intermediate\.dense\.bias \(12,\) for \(20,\)"),
        ({"layers": 4}, "a pretrained encoder of 3 layers; wanted at least 1 layer, and here 4"),
        ({"type_vocab_size": 2}, r"misshapen: .*token_type_embeddings\.weight \(1, 8\) for \(2, 8\)"),
    ],
)
def test_a_network_of_another_size_is_left_alone(tmp_path, sizes, words):
    network = Network(**sizes)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    save_file(longformer().state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(RerankError, match=words):
        start(network, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_networks_with_other_names_are_refused(tmp_path):
    save_file(longformer().state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(RerankError, match="Linear without a position table"):
        start(nn.Linear(2, 2), tmp_path)
    without, with_more = Network(), Network()
    del without.language_model.longformer.pad_embedding
    with pytest.raises(RerankError, match=f"unexpected: {ENCODER}pad_embedding"):
        start(without, tmp_path)
    with_more.language_model.longformer.pooler = nn.Linear(8, 8)
    with pytest.raises(RerankError, match=f"missing: {ENCODER}pooler.bias"):
        start(with_more, tmp_path)


def test_weights_of_something_else_are_refused():
    source = roberta().state_dict()
    with pytest.raises(RerankError, match=r"weights with no keys; wanted a Longformer or RoBERTa"):
        start_state({}, layers=1, positions=10)
    with pytest.raises(RerankError, match="a trained LOCORE needs no start"):
        start_state(Network().state_dict(), layers=1, positions=10)
    for name in (TABLE, "embeddings.LayerNorm.bias", "embeddings.token_type_embeddings.weight"):
        with pytest.raises(RerankError, match=f"without {name}"):
            start_state({key: value for key, value in source.items() if key != name}, layers=1, positions=10)
    with pytest.raises(RerankError, match=r"a word table \(2, 8\)"):
        start_state(source | {"embeddings.word_embeddings.weight": torch.zeros(2, 8)}, layers=1, positions=10)
    with pytest.raises(RerankError, match="wanted at least 1 layer, and here 0"):
        start_state(source, layers=0, positions=10)


def test_a_layer_with_a_hole_is_named(tmp_path):
    state = longformer().state_dict()
    name = "encoder.layer.1.output.dense.bias"
    del state[name]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(RerankError, match=f"missing: {ENCODER}{name}"):
        start(Network(), tmp_path)
