"""How many pairs are worked on at once."""

from __future__ import annotations

import torch

#: Tokens at once: few enough for their activations to stay in the cache of a core, many on a GPU.
TOKENS_PER_THREAD = 1024
TOKENS_ON_DEVICE = 1 << 18


def pairs_at_once(tokens: int, device: torch.device) -> int:
    """Pairs of `tokens` tokens each that are scored in one go on `device`; at least one."""
    at_once = TOKENS_PER_THREAD * torch.get_num_threads() if device.type == "cpu" else TOKENS_ON_DEVICE
    return max(1, at_once // tokens)
