"""Loading and saving the weights of models.

A weight file is trusted with nothing: a safetensors file must be consistent to the byte, a pickled one may
hold tensors only, and names, shapes and dtypes are compared with the model before the first parameter
changes.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np

from lucid import nn
from lucid.data.transforms import Preprocessing
from lucid.models._registry import build, family_of, find_preset
from lucid.models.checkpoint import Array, as_arrays, read_checkpoint, read_header
from lucid.models.hub import locate, tag_of
from lucid.models.keymap import lacks_stem_norm, rename
from lucid.models.metadata import WeightMetadata, is_non_commercial
from lucid.models.resnet import ResNet
from lucid.models.tags import WeightTag, default_preprocessing

__all__ = [
    "LicenseWarning",
    "WeightSource",
    "create_from_file",
    "load_weights",
    "preprocessing",
    "read_metadata",
    "save_weights",
]

WeightSource: TypeAlias = "str | PathLike[str] | Mapping[str, Any]"

# A file names hundreds of tensors; the first few that do not fit tell what is wrong.
_NAMES_SHOWN = 4


class LicenseWarning(UserWarning):
    """Weights were loaded whose licence forbids commercial use."""


def load_weights(
    model: nn.Module, source: WeightSource, *, accept_missing_stem_norm: bool = False
) -> WeightMetadata:
    """Copies weights into a model: all of them, or none and an error.

    Parameters may have the names of torchvision, timm, zhanghang1989, lucid 2.x or lucid 3.x, behind
    ``module.``, or inside a training checkpoint. float16 and bfloat16 are widened to float32.
    ``num_batches_tracked``, which only training with ``momentum=None`` uses, may be absent.

    Args:
        model: A model of the same architecture.
        source: The path of a ``.safetensors`` file, or with PyTorch installed of a ``.pth`` file;
            ``hub:OWNER/NAME`` on the Hugging Face hub, also with ``@REVISION`` and ``/FILE`` after it (needs
            huggingface_hub, whose cache and ``HF_HUB_OFFLINE`` it follows); a published tag
            (``resnest50d.in1k``); or a state dict of this library, PyTorch or NumPy.
        accept_missing_stem_norm: Loads a file of lucid 2.x with a deep stem, which has no norm and no ReLU
            after the stem's last convolution. The norm becomes the identity; the ReLU stays, so the outputs
            are not those that lucid 2.x computed, and the network wants fine-tuning.

    Returns:
        What is known about the weights; their published licence and preprocessing where the file itself has
        none.

    Raises:
        ValueError: The file is damaged or does not fit the model; the message says which tensors, and what to
            pass where it can tell.
        FileNotFoundError: There is no such file, or the hub does not give it.
        ImportError: huggingface_hub or PyTorch is needed and not installed.

    Warns:
        LicenseWarning: The weights must not be used commercially.
    """
    if isinstance(source, Mapping):
        where, metadata = "the state dict", WeightMetadata()
        arrays = as_arrays(source, where)
    else:
        tag = tag_of(source)
        if tag is not None:
            _warn_if_non_commercial(tag.license, source)  # before a download that might then be unwanted
        path = locate(source)
        where = str(path)
        checkpoint = read_checkpoint(path)
        arrays = checkpoint.arrays
        metadata = _with_tag(WeightMetadata.from_texts(checkpoint.texts, where), tag)
        if tag is None:
            _warn_if_non_commercial(metadata.license, source)
    model.load_state_dict(_fitted(model, arrays, where, accept_missing_stem_norm))
    return metadata


def _warn_if_non_commercial(license: str | None, source: object) -> None:
    if is_non_commercial(license):
        warnings.warn(f"{source}: no commercial use, by the licence {license}", LicenseWarning, stacklevel=3)


def _with_tag(metadata: WeightMetadata, tag: WeightTag | None) -> WeightMetadata:
    if tag is None:
        return metadata
    return WeightMetadata(
        model=metadata.model or tag.model,
        config=metadata.config,
        labels=metadata.labels,
        preprocessing=metadata.preprocessing or tag.preprocessing,
        license=metadata.license or tag.license,
        extra=metadata.extra,
    )


def _fitted(
    model: nn.Module, arrays: Mapping[str, Array], where: str, accept_missing_stem_norm: bool
) -> dict[str, Array]:
    """The arrays under the model's names and in its dtypes; ValueError if they are not the model's."""
    expected = {name: tensor.data for name, tensor in model.state_dict().items()}
    names = rename(arrays, expected)
    state = {target: arrays[source] for source, target in names.items() if not _is_optional(target)}
    # A counter is taken where the model has it, and never missed.
    state |= {t: arrays[s] for s, t in names.items() if _is_optional(t) and t in expected}
    if lacks_stem_norm(state.keys(), expected.keys()):
        if not accept_missing_stem_norm:
            raise ValueError(
                f"load_weights: {where} must have the batch norm after the stem's last convolution (bn1); "
                "files of lucid 2.x lack it, and that network has no ReLU there either, so these weights "
                "give other outputs here. To load them nevertheless, e.g. for fine-tuning, pass "
                "accept_missing_stem_norm=True"
            )
        state |= _identity_norm(len(expected["bn1.weight"]))
    problems = [f"{name} is missing" for name in expected if name not in state and not _is_optional(name)]
    problems += [f"{name} is not in the model" for name in state if name not in expected]
    problems += [
        f"{name} is {array.shape} in the file and {expected[name].shape} in the model"
        for name, array in state.items()
        if name in expected and array.shape != expected[name].shape
    ]
    if problems:
        raise ValueError(_misfit(model, where, problems, _hint(state, expected)))
    return {name: _converted(name, array, expected[name], where) for name, array in state.items()}


def _is_optional(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _identity_norm(channels: int) -> dict[str, Array]:
    # weight / sqrt(var + eps) is 1 for batch norm's usual eps.
    one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return {
        "bn1.weight": one,
        "bn1.bias": zero,
        "bn1.running_mean": zero,
        "bn1.running_var": one - np.float32(1e-5),
    }


def _misfit(model: nn.Module, where: str, problems: list[str], hint: str | None) -> str:
    shown = "; ".join(problems[:_NAMES_SHOWN])
    if len(problems) > _NAMES_SHOWN:
        shown += f"; and {len(problems) - _NAMES_SHOWN} more"
    title = getattr(model, "name", None) or type(model).__name__
    return (
        f"load_weights: {where} must fit {title}: {f'{hint} (' if hint else ''}{shown}{')' if hint else ''}"
    )


def _hint(state: Mapping[str, Array], expected: Mapping[str, Array]) -> str | None:
    """What to pass to create_model, for the misfits that one argument explains."""
    stem = "conv1.0.weight" if "conv1.0.weight" in expected else "conv1.weight"
    for name, axis, argument in (("fc.weight", 0, "num_classes"), (stem, 1, "in_channels")):
        given, wanted = state.get(name), expected.get(name)
        if given is None or wanted is None or given.ndim != wanted.ndim:
            continue
        others = [i for i in range(given.ndim) if i != axis]
        if given.shape[axis] != wanted.shape[axis] and all(given.shape[i] == wanted.shape[i] for i in others):
            advice = f"pass {argument}={given.shape[axis]} to create_model"
            if argument == "num_classes":
                advice += ", and for other classes call model.reset_classifier afterwards"
            return advice
    pooled = "layer2.0.downsample.2.weight"
    if (pooled in state) != (pooled in expected) and "layer2.0.downsample.1.weight" in state:
        return f"pass avg_down={pooled in state} to create_model"
    if any(name.startswith("conv1.6.") for name in state) and "conv1.weight" in expected:
        return "the file has a deep stem, the model a plain one"
    return None


def _converted(name: str, array: Array, target: Array, where: str) -> Array:
    """``array`` in the dtype of ``target``, if no value can change by that."""
    if array.dtype == target.dtype:
        return array
    if target.dtype == np.float32 and (array.dtype == np.float16 or array.dtype.name == "bfloat16"):
        return array.astype(np.float32)
    if target.dtype == np.int64 and np.can_cast(array.dtype, np.int64):
        return array.astype(np.int64)
    accepted = "float32, float16 or bfloat16" if target.dtype == np.float32 else str(target.dtype)
    raise ValueError(f"load_weights: {name} in {where} must be {accepted}, got {array.dtype}")


def save_weights(
    model: nn.Module,
    path: str | PathLike[str],
    metadata: WeightMetadata | Mapping[str, Any] | None = None,
) -> None:
    """Writes a model's parameters and buffers, and what is known about them, to a safetensors file.

    The names are torchvision's and timm's, counters of batch norm included, so that PyTorch loads the file
    strictly. The file appears whole or not at all; one that was there is replaced.

    Args:
        model: The model. Of a network of this package name and config are written, too.
        path: Ends in ``.safetensors``.
        metadata: More about the weights; a dictionary has the attributes of ``WeightMetadata`` as keys, and
            any others (values that JSON can hold) are kept.

    Raises:
        ValueError: The path has another ending, the labels are not one a class, or a value is not for JSON.
        OSError: The file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    target = Path(path)
    if target.suffix != ".safetensors":
        raise ValueError(f"save_weights: the path must end in .safetensors, got {fspath(path)!r}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"save_weights: the folder {target.parent} must exist")
    texts = _complete(model, metadata).to_texts()
    # The package writes memory as it lies, so each array must be row-major.
    arrays = {name: np.asarray(tensor.data, order="C") for name, tensor in model.state_dict().items()}
    temporary = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(arrays, temporary, texts)
        os.chmod(temporary, mode)  # the package's files are for their owner alone
        os.replace(temporary, target)
    except SafetensorError as error:
        raise OSError(f"save_weights: {target} cannot be written: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _complete(model: nn.Module, metadata: WeightMetadata | Mapping[str, Any] | None) -> WeightMetadata:
    """``metadata`` with the model's own name and config."""
    values = dict(vars(metadata)) if isinstance(metadata, WeightMetadata) else dict(metadata or {})
    values |= values.pop("extra", {})
    if isinstance(model, ResNet):
        values["model"] = values.get("model") or model.name
        family = family_of(model.config)
        # A config builds the family's own class and block; for others it would promise the wrong network.
        if type(model) is family.model and model.block is family.block:
            values["config"] = model.config
    try:
        return WeightMetadata.from_values(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"save_weights: {error}") from None


def read_metadata(source: str | PathLike[str]) -> WeightMetadata:
    """What is known about a weight file, from its header and from the table of published weights.

    Args:
        source: As for ``load_weights``.

    Raises:
        ValueError: The file or its metadata is damaged.
        FileNotFoundError, ImportError: As for ``load_weights``.
    """
    tag, path = tag_of(source), locate(source)
    if not path.is_file():
        raise FileNotFoundError(f"read_metadata: {path} must be a file")
    texts = read_header(path).get("__metadata__") if path.suffix == ".safetensors" else None
    return _with_tag(WeightMetadata.from_texts(texts or {}, str(path)), tag)


def create_from_file(source: str | PathLike[str]) -> ResNet:
    """The network that ``save_weights`` wrote, rebuilt from the file alone.

    Args:
        source: As for ``load_weights``.

    Raises:
        ValueError: The file has no config; ``create_model(name, weights=source)`` loads it if the network is
            known.
        FileNotFoundError, ImportError: As for ``load_weights``.
    """
    path = locate(source)
    metadata = read_metadata(path)
    if metadata.config is None:
        raise ValueError(
            f"create_from_file: {source} must have the config that save_weights writes; "
            "use create_model(name, weights=...) for files of other origin"
        )
    tensors, blocks = len(read_header(path)), sum(metadata.config.layers)
    if blocks > tensors:
        raise ValueError(f"create_from_file: {path} must have the tensors of {blocks} blocks, got {tensors}")
    model = build(metadata.config, initialize=False)
    model.name = metadata.model
    load_weights(model, path)
    return model


def preprocessing(name: str, weights: str | PathLike[str] | None = None) -> Preprocessing:
    """What an image must go through for a model: as its weights want it if known, else the usual.

    Args:
        name: As for ``create_model``; a tag in it (``resnext50_32x4d.a1_in1k``) decides unless ``weights``
            does.
        weights: As for ``load_weights``.

    Raises:
        ValueError: The name is unknown, or the file damaged.
        FileNotFoundError, ImportError: As for ``load_weights``.
    """
    preset, tag = find_preset(name)
    if weights is not None and weights != "pretrained":
        published = tag_of(weights)
        if published is not None and not Path(weights).is_file():
            return published.preprocessing  # as good as the file's, without a download
        found = read_metadata(weights).preprocessing
        if found is not None:
            return found
    if tag is not None:
        return tag.preprocessing
    return preset.preprocessing or default_preprocessing(preset.name)
