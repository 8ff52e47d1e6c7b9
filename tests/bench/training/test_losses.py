from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.training.losses import (
    ames_logits,
    pair_accuracy,
    pair_loss,
    teacher_tokens,
    token_distillation,
)
from rerankers.ames import AmesConfig, AmesNetwork
from rerankers.elvis import ElvisConfig, ElvisNetwork


def pairs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Descriptors and valid fields of 3 pairs, some padded."""
    torch.manual_seed(seed)
    query_valid, candidate_valid = torch.ones(3, 5, dtype=torch.bool), torch.ones(3, 4, dtype=torch.bool)
    query_valid[1, 3:] = candidate_valid[2, 1:] = False
    return torch.randn(3, 5, 12), torch.randn(3, 4, 12), query_valid, candidate_valid


def ames(*, layers: int = 2, norm_first: bool = False) -> AmesNetwork:
    torch.manual_seed(1)
    return AmesNetwork(AmesConfig(local_dim=12, width=8, layers=layers, hidden=16, norm_first=norm_first))


def elvis() -> ElvisNetwork:
    torch.manual_seed(1)
    return ElvisNetwork(ElvisConfig(local_dim=12, embed=4, hidden=8, iterations=4))


def test_loss_and_accuracy_by_hand() -> None:
    positive, negative = torch.tensor([2.0, -1.0]), torch.tensor([-3.0, 0.0])
    wanted = sum(math.log1p(math.exp(x)) for x in (-2.0, 1.0, -3.0, 0.0)) / 4
    assert float(pair_loss(positive, negative)) == pytest.approx(wanted)
    assert float(pair_accuracy(positive, negative)) == 0.75


def test_distillation_is_the_mean_square_and_takes_one_shape() -> None:
    one, other = torch.zeros(2, 3, 4), torch.full((2, 3, 4), 2.0)
    assert float(token_distillation(one, other)) == 4
    with pytest.raises(BenchError, match="one shape"):
        token_distillation(one, other[:1])


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_logits_from_tokens_are_those_of_the_network(layers: int, norm_first: bool) -> None:
    network, given = ames(layers=layers, norm_first=norm_first), pairs()
    for mode in (True, False):
        logits, tokens = ames_logits(network.train(mode), *given)
        assert tokens.shape == (3, 1 + 5 + 4, 8)
        torch.testing.assert_close(logits, network(*given))


def test_the_teacher_sees_whole_lists_and_keeps_the_first() -> None:
    teacher, given = ames().eval(), pairs()
    whole = teacher.encode(*given)
    kept = teacher_tokens(teacher, *given, lengths=(2, 3))
    assert torch.equal(kept, whole[:, [0, 1, 2, 6, 7, 8]])
    assert not kept.requires_grad
    assert torch.equal(teacher_tokens(teacher, *given, lengths=(5, 4)), whole)
    student, _ = ames_logits(ames().train(), *given)
    student.sum().backward()


def test_the_teacher_rounds_candidates_and_so_must_be_in_eval_mode() -> None:
    given = pairs()
    kept = teacher_tokens(ames().eval(), *given, lengths=(5, 4))
    assert not torch.equal(kept, ames().train().encode(*given))
    with pytest.raises(BenchError, match=r"eval mode.*teacher\.eval"):
        teacher_tokens(ames().train(), *given, lengths=(5, 4))


def test_elvis_gradients_are_the_same_inside_and_outside_the_log_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for exponential in (True, False):
        monkeypatch.setattr(ElvisNetwork, "exponential", exponential)
        network = elvis().train()
        network(*pairs()).sum().backward()
        found.append({name: parameter.grad for name, parameter in network.named_parameters()})
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
