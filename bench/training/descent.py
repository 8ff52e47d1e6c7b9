"""One step of AdamW: by torch, its gradients summed over all processes, or by DeepSpeed, its moments in shares."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.processes import Crew
from bench.training.recipes import Recipe
from bench.training.state import MOMENTS

#: Of a DeepSpeed configuration: what the recipe says instead, and what steps are made by.
OF_THE_RECIPE = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
    "gradient_allreduce_op",
    "optimizer",
    "scheduler",
)
#: What products may be computed in beside float32: its range needs no scaling of losses.
LOWER = "bfloat16"


class Descent(ABC):
    """A step is `begin`, `backward` of each part, then `step`; all processes make as many calls."""

    @abstractmethod
    def begin(self, rate: float) -> None: ...

    @abstractmethod
    def backward(self, loss: Tensor | None, *, last: bool) -> None:
        """The gradients of a part's loss, added to those of the step; None where the others have a part more."""

    @abstractmethod
    def step(self) -> None: ...

    @abstractmethod
    def moments(self) -> dict[str, Tensor]:
        """MOMENTS of the parameters, as `MOMENT.PARAMETER`; empty before the first step."""

    def computing(self) -> AbstractContextManager[Any]:
        """Where losses are computed."""
        return nullcontext()


class Plain(Descent):
    """torch's AdamW."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe, crew: Crew) -> None:
        self.network, self.optimizer, self.clip, self.crew = network, optimizer, recipe.clip, crew

    def begin(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor | None, *, last: bool) -> None:
        if loss is not None:
            loss.backward()

    def step(self) -> None:
        if self.crew.count > 1:
            self._sum()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()

    def moments(self) -> dict[str, Tensor]:
        found = {}
        for name, parameter in self.network.named_parameters():
            for moment in MOMENTS:
                if parameter in self.optimizer.state and moment in self.optimizer.state[parameter]:
                    found[f"{moment}.{name}"] = torch.as_tensor(self.optimizer.state[parameter][moment])
        return found

    def _sum(self) -> None:
        """Sums the gradients over all processes; a parameter that none has a gradient of is left without."""
        parameters = list(self.network.parameters())
        known = [one.grad is not None for one in parameters]
        parts = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        flat = torch.cat([*(part.flatten() for part in parts), torch.tensor(known).to(parts[0])])
        *found, counts = self.crew.summed(flat).split([*(one.numel() for one in parameters), len(parameters)])
        for parameter, gradient, count in zip(parameters, found, counts.tolist(), strict=True):
            parameter.grad = gradient.view_as(parameter) if count else None


class Sharded(Descent):
    """DeepSpeed's engine: each process holds a share of the moments (ZeRO stages 1 and 2).

    The optimizer comes with the moments that it shall have. config: see `configuration`; BenchError for one that
    DeepSpeed refuses.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        crew: Crew,
        config: dict[str, Any],
    ) -> None:
        # which else takes a GPU wherever there is one
        os.environ["DS_ACCELERATOR"] = next(network.parameters()).device.type
        import deepspeed
        from deepspeed.runtime.config import DeepSpeedConfigError
        from deepspeed.runtime.zero.utils import ZeRORuntimeException

        held = {name: optimizer.state.pop(one) for name, one in network.named_parameters() if one in optimizer.state}
        deepspeed.ops.__compatible_ops__ = {}  # of its extensions it needs none here, and compiles none
        # weights are alike already, and those of no dimension it cannot send
        deepspeed.DeepSpeedEngine._broadcast_model = lambda engine: None
        given = config | {
            "train_micro_batch_size_per_gpu": -(-recipe.batch // (crew.count * recipe.accumulation)),
            "gradient_accumulation_steps": recipe.accumulation,
            "gradient_clipping": recipe.clip or 0.0,
        }
        try:
            self.engine, self.zero, *_ = deepspeed.initialize(
                model=network, optimizer=optimizer, config=given, dist_init_required=False
            )
        except (ValueError, TypeError, AssertionError, DeepSpeedConfigError, ZeRORuntimeException) as error:
            raise BenchError(
                f"a configuration that DeepSpeed refuses ({' '.join(str(error).split())})",
                wanted="one that it takes",
                cure="Change the file that --deepspeed names.",
            ) from error
        self.network, self.optimizer, self.crew = network, optimizer, crew
        if held:
            self._take(held)

    def begin(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def backward(self, loss: Tensor | None, *, last: bool) -> None:
        # so that every process reduces the gradients of the same parameters
        nothing = torch.stack([0 * one.sum() for one in self.network.parameters()]).sum()
        self.engine.set_gradient_accumulation_boundary(last)
        mean = nothing if loss is None else self.crew.count * loss + nothing  # of which DeepSpeed takes the mean
        self.engine.backward(mean, scale_wrt_gas=False)

    def step(self) -> None:
        self.engine.step()

    def moments(self) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_full_optimizer_state

        if not self.optimizer.state:
            return {}
        step = torch.as_tensor(next(iter(self.optimizer.state.values()))["step"])
        found = {}
        for name, parameter in self.network.named_parameters():
            for moment in MOMENTS:
                value = step if moment == "step" else safe_get_full_optimizer_state(parameter, moment)
                found[f"{moment}.{name}"] = value
        return found

    def computing(self) -> AbstractContextManager[Any]:
        from deepspeed.runtime.torch_autocast import autocast_if_enabled

        found: AbstractContextManager[Any] = autocast_if_enabled(self.engine)
        return found

    def _take(self, held: dict[str, dict[str, Tensor]]) -> None:
        """Gives each process its share of moments by parameter, as they are after a step."""
        from deepspeed.utils import safe_set_full_optimizer_state

        step = max(one["step"] for one in held.values())
        for flat in self.zero.single_partition_of_fp32_groups:
            self.optimizer.state[flat] = {
                moment: step.clone() if moment == "step" else torch.zeros_like(flat) for moment in MOMENTS
            }
        self.zero._lazy_init_hp_params_optimizer_state()
        for name, parameter in self.network.named_parameters():
            for moment, value in held.get(name, {}).items():
                if moment != "step":
                    safe_set_full_optimizer_state(parameter, value, moment)


def configuration(path: Path) -> dict[str, Any]:
    """DeepSpeed's, from a JSON file; BenchError for one that training cannot follow."""
    try:
        config = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(
            f"cannot read {path} ({error!s:.200})", wanted="DeepSpeed's configuration, as JSON", cure="Check the file."
        ) from error
    sections = ("zero_optimization", "torch_autocast", "bf16", "fp16")
    if not isinstance(config, dict) or not all(isinstance(config.get(name, {}), dict) for name in sections):
        raise BenchError(
            f"{json.dumps(config):.200} in {path}",
            wanted=f"an object, in which {', '.join(sections)} are objects too",
            cure="Check the file.",
        )
    if said := [name for name in OF_THE_RECIPE if name in config]:
        raise BenchError(
            f"{', '.join(said)} in {path}", wanted="what the recipe does not say", cure="Leave it to the recipe."
        )
    lower = config.get("torch_autocast", {})
    halved = [name for name in ("bf16", "fp16") if config.get(name, {}).get("enabled")]
    if halved or (lower.get("enabled") and lower.get("dtype") != LOWER):
        raise BenchError(
            f"{halved[0]} weights in {path}" if halved else f"products in {lower.get('dtype')} in {path}",
            wanted=f"weights in float32, and products in it or in {LOWER}",
            cure=f'Write "torch_autocast": {{"enabled": true, "dtype": "{LOWER}"}} instead.',
        )
    if (stage := config.get("zero_optimization", {}).get("stage", 0)) not in (1, 2):
        raise BenchError(f"ZeRO stage {stage} in {path}", wanted="1 or 2", cure="Without, leave --deepspeed out.")
    return config


def autocast(config: dict[str, Any] | None) -> str | None:
    """The number type that a configuration has products computed in, None for that of the weights."""
    return LOWER if (config or {}).get("torch_autocast", {}).get("enabled") else None
