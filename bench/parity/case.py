"""A reference case on disk, and the comparison of one output with it.

A case is a folder: `case.json` (kind, config, tolerances), tensors that go in (`inputs.safetensors` or `inputs.npz`),
what the official code gave (`outputs.safetensors` or `expected.json`), and its checkpoint if it has one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from bench.errors import BenchError


@dataclass(frozen=True)
class Verdict:
    """One output of a case held against the official one."""

    output: str
    ok: bool
    deviation: float
    tolerance: str
    note: str = ""


#: What a specification may hold, by type.
FORM: Mapping[str, Any] = {
    **{"kind": str, "checkpoint": str | None},
    **{"config": dict, "notes": list, "tolerances": dict},
}


@dataclass(frozen=True)
class Case:
    """A reference case; tensors are read when first asked for."""

    folder: Path
    spec: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Case:
        """The case in `folder`; BenchError when there is none, or its JSON is broken."""
        try:
            spec = json.loads((folder / "case.json").read_text(encoding="utf8"))
            spec["kind"]
            for name, kind in FORM.items():
                if name in spec and not isinstance(spec[name], kind):
                    raise TypeError(f"{name} of another type")
            found = cls(folder, spec)
            # what later is taken from it
            for output in ("", *found.spec.get("tolerances", {})):
                found.tolerances(output)
            _ = found.notes
        except FileNotFoundError as error:
            raise BenchError(
                f"no case.json in {folder}", wanted="a folder with a reference case", cure="Pass the case's folder."
            ) from error
        except Exception as error:  # whatever JSON of another form leads to
            raise BenchError(
                f"{folder / 'case.json'} is not a case ({error!s:.200})",
                wanted="a JSON object with a 'kind'",
                cure="Fetch the case again.",
            ) from error
        return found

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def kind(self) -> str:
        return str(self.spec["kind"])

    @property
    def config(self) -> Mapping[str, Any]:
        return dict(self.spec.get("config", {}))

    @property
    def notes(self) -> str:
        return " ".join(self.spec.get("notes", []))

    @property
    def checkpoint(self) -> Path | None:
        """The official checkpoint container of this case."""
        name = self.spec.get("checkpoint")
        return None if name is None else self.folder / name

    @cached_property
    def inputs(self) -> dict[str, np.ndarray]:
        return self._arrays("inputs")

    @cached_property
    def outputs(self) -> dict[str, np.ndarray]:
        return self._arrays("outputs")

    @cached_property
    def expected(self) -> Any:
        """The expectations of a metrics case (`expected.json`)."""
        return json.loads((self.folder / "expected.json").read_text(encoding="utf8"))

    def _arrays(self, stem: str) -> dict[str, np.ndarray]:
        if (path := self.folder / f"{stem}.safetensors").exists():
            return load_file(path)
        if (path := self.folder / f"{stem}.npz").exists():
            with np.load(path, allow_pickle=False) as stored:
                return dict(stored)
        return {}

    def tolerances(self, output: str) -> tuple[float, float]:
        """(atol, rtol) of one output."""
        own = self.spec.get("tolerances", {}).get(output, {})
        return (
            float(own.get("atol", self.spec.get("atol", 0.0))),
            float(own.get("rtol", self.spec.get("rtol", 0.0))),
        )

    def compare(self, output: str, value: Any, *, expected: Any = None, note: str = "") -> Verdict:
        """Holds `value` against the case's `output` (or `expected`): integers exactly, floats within tolerance."""
        want = np.asarray(self.outputs[output] if expected is None else expected)
        got = np.asarray(value)
        if got.shape != want.shape:
            return Verdict(output, False, float("inf"), "shape", f"shape {got.shape}, wanted {want.shape}")
        if want.size == 0:
            return Verdict(output, True, 0.0, "empty", note)
        if want.dtype.kind in "iub" and got.dtype.kind in "iub":
            deviation = float(np.abs(got.astype(np.int64) - want.astype(np.int64)).max())
            return Verdict(output, deviation == 0, deviation, "exact", note)
        atol, rtol = self.tolerances(output)
        got, want = got.astype(np.float64), want.astype(np.float64)
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        error = np.where(same, 0.0, np.abs(np.where(same, 0.0, got) - np.where(same, 0.0, want)))
        allowed = atol + rtol * np.abs(np.where(np.isfinite(want), want, 0.0))
        ok = bool((same | (error <= allowed)).all())
        worst = float("inf") if np.isnan(error).any() else float(error.max())
        return Verdict(output, ok, worst, f"{atol:g} + {rtol:g} x", note)
