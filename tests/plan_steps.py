"""Steps for ``_core.Plan`` without what a step rarely needs to say."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lucid import _core

# Attributes that are not given: a window of one pixel, nothing around it, one group, no ReLU.
_DEFAULTS = {"pair": (1, 1), "padding": (0, 0, 0, 0), "int": 1, "bool": False}


def step(
    kind: str,
    inputs: list[int],
    output: int,
    *,
    weight: npt.NDArray[np.float32] | None = None,
    bias: npt.NDArray[np.float32] | None = None,
    **attributes: Any,
) -> dict[str, Any]:
    """A step of a kind, with the attributes that are given and the defaults of the others."""
    types = _core.step_kinds()[kind]["attributes"]
    weights = {"weight": weight, "bias": bias}
    return {
        "kind": kind,
        "inputs": inputs,
        "output": output,
        "attributes": {name: _DEFAULTS[type_] for name, type_ in types.items()} | attributes,
        "weights": {name: array for name, array in weights.items() if array is not None},
    }
