"""What AMES and ELViS minimise (train_one_epoch of pavelsuma/ELViS, commit 6a37f20).

Everywhere: query (B, Q, local_dim), candidate (B, T, local_dim), the valid fields (B, Q) and (B, T), True for a real
descriptor, or None when all are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import BenchError
from rerankers.ames import AmesNetwork

#: Weight of the distillation beside the loss of the pairs.
BETA = 10.0


def pair_loss(positive_logits: Tensor, negative_logits: Tensor) -> Tensor:
    """Mean binary cross-entropy () of the logits (B,) of matching and of other pairs."""
    logits, matching = _both(positive_logits, negative_logits)
    return F.binary_cross_entropy_with_logits(logits, matching.to(logits.dtype))


def pair_accuracy(positive_logits: Tensor, negative_logits: Tensor) -> Tensor:
    """Share () of the pairs that are told apart: probability above one half, and matching, or neither."""
    logits, matching = _both(positive_logits, negative_logits)
    return ((torch.sigmoid(logits) > 0.5) == matching).float().mean()


def _both(positive_logits: Tensor, negative_logits: Tensor) -> tuple[Tensor, Tensor]:
    """All logits, and which are of matching pairs."""
    logits = torch.cat([positive_logits, negative_logits])
    return logits, torch.arange(len(logits), device=logits.device) < len(positive_logits)


def token_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error () of tokens (B, S, width), those of padding included."""
    if student.shape != teacher.shape:
        raise BenchError(
            f"tokens {tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher",
            wanted="one shape",
            cure="Cut the teacher's to the student's lengths (teacher_tokens), and give both networks one width.",
        )
    return F.mse_loss(student, teacher)


def ames_logits(
    network: AmesNetwork,
    query: Tensor,
    candidate: Tensor,
    query_valid: Tensor | None = None,
    candidate_valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits (B,) and, of the same pass, all tokens (B, 1 + Q + T, width) in the order of AmesNetwork.encode."""
    tokens = network.encode(query, candidate, query_valid, candidate_valid)
    return network.classify(tokens[:, :1])[:, 0], tokens


def teacher_tokens(
    teacher: AmesNetwork,
    query: Tensor,
    candidate: Tensor,
    query_valid: Tensor | None = None,
    candidate_valid: Tensor | None = None,
    *,
    lengths: tuple[int, int],
) -> Tensor:
    """What a student that sees the first `lengths` (q, t) descriptors shall find: (B, 1 + q + t, width), no gradient.

    The teacher sees whole lists, its candidates rounded to float16 as in use. BenchError when it is in training mode.
    """
    if teacher.training:
        raise BenchError("a teacher in training mode", wanted="eval mode", cure="Call teacher.eval() first.")
    with torch.no_grad():
        tokens = teacher.encode(query, candidate, query_valid, candidate_valid)
    first = 1 + query.shape[1]
    return torch.cat([tokens[:, : 1 + lengths[0]], tokens[:, first : first + lengths[1]]], dim=1)
