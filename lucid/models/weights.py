"""Loading and saving the weights of models.

A weight file is trusted with nothing: a safetensors file must be consistent to the byte, of a pickled one
only the tensors are built, and names and shapes are compared with the model before the first parameter
changes.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np

from lucid import nn
from lucid.data.transforms import Preprocessing
from lucid.device_array import on_host
from lucid.models.checkpoint import Array, Checkpoint, Selection
from lucid.models.fit import converted, identity_norm, source_names
from lucid.models.hub_config import read_hub_config
from lucid.models.keymap import is_head
from lucid.models.metadata import WeightMetadata, is_non_commercial
from lucid.models.registry import family_of, find_preset
from lucid.models.resnet import ResNet
from lucid.models.sources import Source, resolve
from lucid.models.tags import WeightTag, default_preprocessing
from lucid.tensor_file import open_file

__all__ = [
    "LicenseWarning",
    "WeightSource",
    "class_count",
    "load",
    "load_weights",
    "metadata_of",
    "preprocessing",
    "read_metadata",
    "save_weights",
]

WeightSource: TypeAlias = str | PathLike[str] | Mapping[str, Any]

# A fresh model is filled in portions of this many bytes, so that memory never holds all weights twice.
_PORTION = 16 << 20


class LicenseWarning(UserWarning):
    """Weights were loaded whose licence forbids commercial use."""


def load_weights(
    model: nn.Module,
    source: WeightSource,
    *,
    accept_missing_stem_norm: bool = False,
    ema: bool | None = None,
    entry: str | None = None,
) -> WeightMetadata:
    """Copies weights into a model: all of them, or none and an error.

    Parameters may have the names of torchvision, timm, zhanghang1989, OpenMMLab, lucid 2.x or lucid 3.x,
    behind a prefix (``module.``, ``backbone.``), or inside a training checkpoint. float16 and bfloat16 are
    widened to float32, float64 is rounded. ``num_batches_tracked``, which only training with
    ``momentum=None`` uses, may be absent.

    The file is read into memory before the first parameter changes. ``create_model`` does without that copy.

    Args:
        model: A model of the same architecture.
        source: The path of a ``.safetensors`` file, or with PyTorch installed of a ``.pth`` file;
            ``hub:OWNER/NAME`` on the Hugging Face hub, also with ``@REVISION`` and ``/FILE`` after it (needs
            huggingface_hub, whose cache and ``HF_HUB_OFFLINE`` it follows); a published tag
            (``resnest50d.in1k``); or a state dict of this library, PyTorch or NumPy.
        accept_missing_stem_norm: Loads a file of lucid 2.x with a deep stem, which has no norm and no ReLU
            after the stem's last convolution. The norm becomes the identity; the ReLU stays, so the outputs
            are not those that lucid 2.x computed, and the network wants fine-tuning.
        ema: Which weights of a training checkpoint to take where it has both: True averaged ones (EMA), False
            raw ones. None takes averaged ones where there are any, as timm does, and warns if there are raw
            ones beside them.
        entry: Name of the network in a file that holds several, e.g. ``"teacher"``.

    Returns:
        The facts known about the weights; their published licence and preprocessing where the file itself has
        none, and the name of the network in the file.

    Raises:
        ValueError: The file is damaged or does not fit the model; the message says which tensors, and what to
            pass where it can tell.
        FileNotFoundError: There is no such file, or the hub does not give it.
        ImportError: huggingface_hub or PyTorch is needed and not installed.
        MemoryError: The memory does not suffice.

    Warns:
        LicenseWarning: The weights must not be used commercially.
        UserWarning: Averaged weights were preferred to raw ones, or a ``config.json`` beside the file is not
            understood.
    """
    place = source if isinstance(source, Mapping) else resolve("load_weights", source)
    return load(
        "load_weights",
        model,
        place,
        Selection(ema, entry),
        accept_missing_stem_norm=accept_missing_stem_norm,
    )


def load(
    op: str,
    model: nn.Module,
    source: Source | Mapping[str, Any],
    selection: Selection,
    *,
    accept_missing_stem_norm: bool = False,
    fresh: bool = False,
) -> WeightMetadata:
    """As ``load_weights``, for a resolved source and a call of any name.

    Args:
        op: The call that the user made, for messages.
        model: As for ``load_weights``.
        source: As for ``load_weights``.
        selection: As for ``load_weights``.
        accept_missing_stem_norm: As for ``load_weights``.
        fresh: Whether nobody will see the model if loading fails. It is then filled tensor by tensor.
    """
    if isinstance(source, Source):
        tag = source.tag
        if tag is not None:
            _warn_if_non_commercial(tag.license, source.text)  # before a download that might be unwanted
        path = source.file(op)
        with Checkpoint(op, path, selection) as checkpoint:
            metadata = _described(op, path, checkpoint.texts, _classes(checkpoint), tag)
            if tag is None:
                _warn_if_non_commercial(metadata.license, source.text)
            return _copy(op, model, checkpoint, metadata, accept_missing_stem_norm, fresh)
    with Checkpoint(op, source, selection) as checkpoint:
        return _copy(op, model, checkpoint, WeightMetadata(), accept_missing_stem_norm, fresh)


def _copy(
    op: str,
    model: nn.Module,
    checkpoint: Checkpoint,
    metadata: WeightMetadata,
    accept_missing_stem_norm: bool,
    fresh: bool,
) -> WeightMetadata:
    sources = source_names(op, model, checkpoint, accept_missing_stem_norm)
    portion: dict[str, Array] = {}
    for name, array in _arrays(op, model, checkpoint, sources):
        portion[name] = array
        del array
        if fresh and sum(held.nbytes for held in portion.values()) >= _PORTION:
            model.load_state_dict(portion, strict=False)
            portion = {}
    checkpoint.check_unchanged()
    model.load_state_dict(portion, strict=False)
    if checkpoint.passed_over is not None:
        warnings.warn(
            f"{checkpoint.where}: took the EMA weights ({checkpoint.network!r}) and not the raw ones beside "
            f"them ({checkpoint.passed_over or 'no entry'!r}), as timm does; ema=False takes raw ones",
            stacklevel=4,
        )
    return replace(metadata, entry=checkpoint.network)


def _arrays(
    op: str, model: nn.Module, checkpoint: Checkpoint, sources: Mapping[str, str]
) -> Iterator[tuple[str, Array]]:
    """The arrays under the model's names and in its dtypes."""
    own = model.state_dict()
    if "bn1.weight" in own and "bn1.weight" not in sources:
        yield from identity_norm(own["bn1.weight"].shape[0]).items()
    for target, name in sources.items():
        array = converted(op, target, checkpoint.take(name), own[target].dtype, checkpoint.where)
        yield target, array.reshape(own[target].shape)  # a counter may be (1,)


def _warn_if_non_commercial(license: str | None, source: str) -> None:
    if is_non_commercial(license):
        warnings.warn(f"{source}: no commercial use, by the licence {license}", LicenseWarning, stacklevel=4)


def _described(
    op: str, path: Path, texts: Mapping[str, str], classes: int | None, tag: WeightTag | None
) -> WeightMetadata:
    """The facts in a file's header, in the ``config.json`` beside it, and in the table of tags."""
    metadata = WeightMetadata.from_texts(op, texts, str(path))
    if tag is not None:
        return metadata.completed_by(
            WeightMetadata(model=tag.model, preprocessing=tag.preprocessing, license=tag.license)
        )
    return metadata if metadata.config is not None else metadata.completed_by(read_hub_config(path, classes))


def _classes(checkpoint: Checkpoint) -> int | None:
    """Rows of the last layer's matrix."""
    heads = [
        shape[0]
        for name, shape in checkpoint.shapes.items()
        if is_head(name) and name.endswith("weight") and len(shape) == 2
    ]
    return heads[-1] if heads else None


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
    arrays = {
        name: np.asarray(on_host(tensor.data), order="C") for name, tensor in model.state_dict().items()
    }
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
    """The facts known about a weight file: in its header, in its folder's ``config.json``, or published.

    The tensors are not read.

    Args:
        source: As for ``load_weights``.

    Raises:
        ValueError: The file or its metadata is damaged.
        FileNotFoundError, ImportError: As for ``load_weights``.
    """
    return metadata_of("read_metadata", resolve("read_metadata", source))


def metadata_of(op: str, source: Source) -> WeightMetadata:
    """As ``read_metadata``, for a resolved source and a call of any name."""
    path = source.file(op)
    if path.suffix.lower() != ".safetensors":
        open_file(op, path).close()
        return _described(op, path, {}, None, source.tag)
    with Checkpoint(op, path) as checkpoint:
        return _described(op, path, checkpoint.texts, _classes(checkpoint), source.tag)


def class_count(source: WeightSource, *, ema: bool | None = None, entry: str | None = None) -> int | None:
    """Number of classes that weights were trained for, which their last layer tells; None if they lack it.

    Of a safetensors file only the header is read, a ``.pth`` file is read whole.

    Args:
        source: As for ``load_weights``.
        ema: As for ``load_weights``.
        entry: As for ``load_weights``.

    Raises:
        ValueError, OSError, ImportError, MemoryError: As for ``load_weights``.
    """
    op = "class_count"
    place = source if isinstance(source, Mapping) else resolve(op, source).file(op)
    with Checkpoint(op, place, Selection(ema, entry)) as checkpoint:
        return _classes(checkpoint)


def preprocessing(name: str, weights: str | PathLike[str] | None = None) -> Preprocessing:
    """The preparation of an image for a model: as its weights want it if known, else the usual.

    Args:
        name: As for ``create_model``; a tag in it (``resnext50_32x4d.a1_in1k``) decides unless ``weights``
            does.
        weights: As for ``load_weights``.

    Raises:
        ValueError: The name is unknown, or the file damaged.
        FileNotFoundError, ImportError: As for ``load_weights``.
    """
    op = "preprocessing"
    preset, tag = find_preset(name, op=op)
    if weights is not None and weights != "pretrained":
        source = resolve(op, weights)
        if source.tag is not None and (source.path is None or not source.path.is_file()):
            return source.tag.preprocessing  # as good as the file's, without a download
        found = metadata_of(op, source).preprocessing
        if found is not None:
            return found
    if tag is not None:
        return tag.preprocessing
    return preset.preprocessing or default_preprocessing(preset.name)
