"""Comparing the tensors of a file with a model, and saying what is wrong where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lucid import nn
from lucid.models.architecture import FREE, arguments, differences, matching_presets, recognize
from lucid.models.checkpoint import Array, Checkpoint
from lucid.models.config import ModelConfig
from lucid.models.keymap import lacks_stem_norm, rename
from lucid.models.registry import family_of
from lucid.models.resnet import ResNet

__all__ = ["converted", "identity_norm", "source_names"]

Shapes = Mapping[str, tuple[int, ...]]

# A file names hundreds of tensors; the first few that do not fit tell what is wrong.
_NAMES_SHOWN = 4


def source_names(
    op: str, model: nn.Module, checkpoint: Checkpoint, accept_missing_stem_norm: bool
) -> dict[str, str]:
    """The name in the checkpoint of each of the model's tensors that it has.

    Args:
        op: The call that the user made, for messages.
        model: The model to load into.
        checkpoint: The tensors to load.
        accept_missing_stem_norm: As for ``load_weights``.

    Raises:
        ValueError: Names or shapes do not fit; the message says which, and what to do where it can tell.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    names = rename(checkpoint.shapes, expected, op=f"{op}: {checkpoint.where}")
    # A counter is taken where the model has it, and never missed.
    sources = {
        target: name for name, target in names.items() if target in expected or not _is_optional(target)
    }
    shapes = {target: checkpoint.shapes[name] for target, name in sources.items()}
    wanted = dict(expected)
    if lacks_stem_norm(shapes.keys(), expected.keys()):
        if not accept_missing_stem_norm:
            raise ValueError(
                f"{op}: {checkpoint.where} must have the batch norm after the stem's last convolution (bn1); "
                "files of lucid 2.x lack it, and that network has no ReLU there either, so these weights "
                "give other outputs here. To load them nevertheless, e.g. for fine-tuning, pass "
                "accept_missing_stem_norm=True"
            )
        wanted = {name: shape for name, shape in expected.items() if not name.startswith("bn1.")}
    problems = _problems(shapes, wanted)
    if problems:
        raise ValueError(_misfit(op, model, checkpoint, problems, shapes, wanted))
    return sources


def identity_norm(channels: int) -> dict[str, Array]:
    """Values with which the stem's batch norm changes nothing."""
    # weight / sqrt(var + eps) is 1 for batch norm's usual eps.
    one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return {
        "bn1.weight": one,
        "bn1.bias": zero,
        "bn1.running_mean": zero,
        "bn1.running_var": one - np.float32(1e-5),
    }


def converted(op: str, name: str, array: Array, dtype: np.dtype[np.generic], where: str) -> Array:
    """``array`` in the model's ``dtype``; float64 is rounded, the shorter floats are widened exactly.

    Raises:
        ValueError: The dtype is of another kind, or a value is too large.
    """
    if array.dtype == dtype:
        return array
    if dtype == np.float32 and (array.dtype.kind == "f" or array.dtype.name == "bfloat16"):
        try:
            with np.errstate(over="raise"):
                return array.astype(np.float32)
        except FloatingPointError:
            raise ValueError(f"{op}: {name} in {where} must fit into float32, got larger values") from None
    if dtype == np.int64 and np.can_cast(array.dtype, np.int64):
        return array.astype(np.int64)
    accepted = "float32, float16 or bfloat16" if dtype == np.float32 else str(dtype)
    raise ValueError(f"{op}: {name} in {where} must be {accepted}, got {array.dtype}")


def _is_optional(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _problems(shapes: Shapes, wanted: Shapes) -> list[str]:
    missing = [f"{name} is missing" for name in wanted if name not in shapes and not _is_optional(name)]
    unknown = [f"{name} is not in the model" for name in shapes if name not in wanted]
    return [
        *missing,
        *unknown,
        *(
            f"{name} is {shape} in the file and {wanted[name]} in the model"
            for name, shape in shapes.items()
            if name in wanted and shape != wanted[name] and not (_is_optional(name) and set(shape) == {1})
        ),
    ]


def _misfit(
    op: str, model: nn.Module, checkpoint: Checkpoint, problems: list[str], shapes: Shapes, wanted: Shapes
) -> str:
    shown = _few(problems, "; ")
    title = getattr(model, "name", None) or type(model).__name__
    hint = _advice(model, checkpoint.shapes)
    if hint is None and shapes and len(shapes.keys() & wanted.keys()) < len(wanted) / 2:
        hint = f"it holds another architecture, with the names {_few(list(checkpoint.shapes), ', ')}"
    detail = f"{hint} ({shown})" if hint else shown
    entry = f" ({checkpoint.network!r} in it)" if checkpoint.network else ""
    return f"{op}: {checkpoint.where}{entry} must fit {title}: {detail}"


def _few(entries: list[str], separator: str) -> str:
    text = separator.join(entries[:_NAMES_SHOWN])
    more = len(entries) - _NAMES_SHOWN
    return f"{text}{separator}and {more} more" if more > 0 else text


def _advice(model: nn.Module, shapes: Shapes) -> str | None:
    """The call that would fit the file, which was tried: its network has these very names and shapes."""
    found = recognize(shapes)
    if found is None:
        return None
    names = matching_presets(found)
    own = model.config if isinstance(model, ResNet) else None
    changed = differences(own, found) if own is not None else {}
    if own and changed and (not names or changed.keys() <= FREE) and not changed.keys() & _fixed(found):
        return _overrides(own, changed)
    if own and not changed:
        return None  # the right network: a tensor is damaged
    free = {"num_classes": (found.num_classes, 1000), "in_channels": (found.in_channels, 3)}
    given = "".join(f", {name}={value}" for name, (value, usual) in free.items() if value != usual)
    if names:
        return f"it holds {' or '.join(names)}: create_model({names[0]!r}{given})"
    family = family_of(found)
    return f"it holds another network: {family.model.__name__}({family.config.__name__}({arguments(found)}))"


def _fixed(config: ModelConfig) -> set[str]:
    """Fields that ``create_model`` does not let change."""
    return {"config", *family_of(config).fixed}


def _overrides(own: ModelConfig, changed: Mapping[str, object]) -> str:
    advice = f"pass {', '.join(f'{name}={value!r}' for name, value in changed.items())} to create_model"
    if set(changed) == {"num_classes"}:
        advice += ", and for other classes call model.reset_classifier afterwards"
    if "stem_type" in changed:
        kinds = ("plain", "deep") if own.stem_type == "deep" else ("deep", "plain")
        advice = f"the file has a {kinds[0]} stem, the model a {kinds[1]} one: {advice}"
    return advice
