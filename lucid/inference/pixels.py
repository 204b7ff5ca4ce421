"""Inputs of photographs: arrays of uint8, which a plan normalises as it reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lucid.data import Preprocessing
from lucid.recording import Shape

__all__ = ["Pixels", "PixelsArgument", "checked_pixels"]


class Pixels(NamedTuple):
    """Mean and std of an input of uint8, whose values mean ``(v / 255 - mean[c]) / std[c]``, in float32.

    Attributes:
        mean, std: A number for each channel, as float32 has it.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


Scale: TypeAlias = tuple[Sequence[float], Sequence[float]] | Preprocessing
PixelsArgument: TypeAlias = Scale | Mapping[str, Scale] | None


def checked_pixels(op: str, given: Any, inputs: Mapping[str, Shape], device: str) -> dict[str, Pixels]:
    """The pixels of each input that has them, by its name. Whether the numbers can be taken, the plan says.

    Args:
        op: Opens messages.
        given: Mean and std, or a ``Preprocessing``, for a plan of one input; for one of several a mapping
            from names of inputs to these; or None.
        inputs: Shapes by name.
        device: Of the plan.

    Raises:
        ValueError: There is no input of a name, or not one number a channel.
        TypeError: ``given`` is none of the above.
        NotImplementedError: ``device`` is not the CPU.
    """
    if given is None or (isinstance(given, Mapping) and not given):
        return {}
    if device != "cpu":
        raise NotImplementedError(f"{op}: pixels must be None on {device}, being for the CPU")
    if not isinstance(given, Mapping):
        if len(inputs) != 1:
            raise ValueError(
                f"{op}: pixels must be a dict by the names of inputs where there are {len(inputs)}, "
                f"{', '.join(inputs)}; got mean and std alone"
            )
        given = dict.fromkeys(inputs, given)
    unknown = [name for name in given if name not in inputs]
    if unknown:
        raise ValueError(f"{op}: pixels must be of inputs ({', '.join(inputs)}), got {unknown[0]!r}")
    return {name: _scale(op, name, given[name], shape) for name, shape in inputs.items() if name in given}


def _scale(op: str, name: str, given: Any, shape: Shape) -> Pixels:
    if isinstance(given, Preprocessing):
        given = (given.mean, given.std)
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(
            f"{op}: pixels of {name} must be a tuple (mean, std) or a lucid.data.Preprocessing, "
            f"got {given!r:.80}"
        )
    if len(shape) != 4:
        raise ValueError(f"{op}: pixels must be of an image (n, c, h, w), got {name} of shape {shape}")
    mean, std = (
        _numbers(op, f"{part} of {name}", values, shape[1])
        for part, values in zip(Pixels._fields, given, strict=True)
    )
    return Pixels(mean, std)


def _numbers(op: str, name: str, values: Any, channels: int) -> tuple[float, ...]:
    """Rounded to float32."""
    error = TypeError(f"{op}: {name} must be a sequence of numbers, got {values!r:.80}")
    try:
        array = np.asarray(values)
    except ValueError:  # of uneven lists
        raise error from None
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise error
    if len(array) != channels:
        raise ValueError(f"{op}: {name} must have a number for each of {channels} channels, got {len(array)}")
    with np.errstate(over="ignore"):
        return tuple(array.astype(np.float32).tolist())
