"""ONNX files, read and checked: nothing in them is executed."""

from __future__ import annotations

import io
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from lucid.onnx.package import require_onnx

__all__ = ["Source", "read_model"]

# A path, the contents of a file, or an onnx.ModelProto.
Source: TypeAlias = str | PathLike[str] | bytes | Any

# Operators broadcast as NumPy's from version 7 on.
_OLDEST_OPSET = 7


def read_model(source: Source) -> tuple[Any, int]:
    """The ModelProto with all of its weights, its functions inlined, and the version of its operators.

    Raises:
        ImportError: The package onnx is not installed.
        ValueError: ``source`` is no valid model, or its external data is missing or damaged.
        NotImplementedError: The operators are of a version or a domain that is not supported.
        FileNotFoundError: There is no such file.
        TypeError: ``source`` is none of the three.
    """
    onnx = require_onnx("onnx.load")
    model, folder, name = _parsed(onnx, source)
    version = _opset(onnx, model, name)
    _attach_external_data(onnx, model, folder, name)
    try:
        # A file is checked as it is: a ModelProto would be serialised for it, which takes longer than all
        # the rest.
        onnx.checker.check_model(model if isinstance(source, onnx.ModelProto) else _checkable(source))
    except onnx.checker.ValidationError as error:
        raise ValueError(f"onnx.load: {name} must be a valid model: {_first_line(error)}") from None
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    return model, version


def _checkable(source: Any) -> str | bytes:
    return source if isinstance(source, bytes) else str(Path(source))


def _parsed(onnx: Any, source: Source) -> tuple[Any, Path | None, str]:
    """The model without its external data, the folder of those, and a name for messages."""
    if isinstance(source, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(source)
        return copy, None, "the ModelProto"
    if isinstance(source, bytes):
        contents, folder, name = source, None, "the file's contents"
    elif isinstance(source, (str, PathLike)):
        path = Path(source)
        contents, folder, name = path.read_bytes(), path.absolute().parent, str(path)
    else:
        raise TypeError(
            f"onnx.load: the source must be a path, bytes or a ModelProto, got {type(source).__name__}"
        )
    try:
        model = onnx.load(io.BytesIO(contents), load_external_data=False)
    except Exception as error:  # protobuf's own, which is not to be imported
        raise ValueError(f"onnx.load: {name} must be an ONNX model: {_first_line(error)}") from None
    if not model.graph.node:
        raise ValueError(f"onnx.load: {name} must be an ONNX model with nodes, got none")
    return model, folder, name


def _opset(onnx: Any, model: Any, name: str) -> int:
    """The version of the default domain; NotImplementedError for others."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    version: int = versions.get("", versions.get("ai.onnx", 0))
    newest = onnx.defs.onnx_opset_version()
    if not _OLDEST_OPSET <= version <= newest:
        raise NotImplementedError(
            f"onnx.load: the opset must be {_OLDEST_OPSET} to {newest}, which the package onnx knows; "
            f"got {version or 'none'} in {name}"
        )
    return version


def _attach_external_data(onnx: Any, model: Any, folder: Path | None, name: str) -> None:
    """Reads the weights that lie in files beside the model; ValueError if they are not all there."""
    external = [
        tensor
        for tensor in onnx.external_data_helper._get_all_tensors(model)
        if onnx.external_data_helper.uses_external_data(tensor)
    ]
    if external and folder is None:
        raise ValueError(
            f"onnx.load: {name} must hold all weights, got {external[0].name!r} in an external file: "
            "give the path instead"
        )
    for tensor in external:
        try:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ValueError(
                f"onnx.load: the external data of {tensor.name!r} must lie beside {name}: "
                f"{_first_line(error)}"
            ) from None
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
