"""The tensors of one network in a weight file or a state dict, each read when it is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from lucid.models.entries import Network, choose_network, is_tensor
from lucid.models.pickled_file import StandIn, read_pickled
from lucid.tensor_file import StoredTensor, TensorFile, open_file

__all__ = ["Array", "Checkpoint", "Selection"]

Array = npt.NDArray[Any]

_SAFETENSORS = ".safetensors"
_PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl", ".pyth")

# Counters that thop and PyTorch's AveragedModel leave in a state dict: no part of a network.
_FOREIGN_COUNTERS = ("total_ops", "total_params", "n_averaged")


@dataclass(frozen=True)
class Selection:
    """The user's choice among several networks in one file.

    Attributes:
        ema: True takes weights averaged over the training and False raw ones; None averaged ones where there
            are any, as timm does.
        entry: Name of the network to take: dictionary keys and prefix, with dots between.
    """

    ema: bool | None = None
    entry: str | None = None


class Checkpoint:
    """An open weight file, or a state dict; closed at the end of a ``with``.

    Attributes:
        where: What to call it in messages.
        texts: The texts in a safetensors file's header.
        network: Name of the network in the file, empty if there is nothing else.
        passed_over: Name of the raw weights beside averaged ones that were taken, else None.
        shapes: Shapes of the tensors by name.
    """

    def __init__(self, op: str, source: Path | Mapping[str, Any], selection: Selection | None = None) -> None:
        """Opens a source.

        Args:
            op: The call that the user made, for messages.
            source: A file, or tensors (of any library) by name, or a training checkpoint that holds such.
            selection: Which network to take where there are several.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is of no known type, damaged, or holds other things than tensors.
            ImportError: It is a pickled PyTorch file, and PyTorch is not installed.
            MemoryError: The memory does not suffice.
        """
        self._op, self._file = op, None
        self.where = "the state dict" if isinstance(source, Mapping) else str(source)
        self.texts: dict[str, str] = {}
        state = source if isinstance(source, Mapping) else self._open(source)
        selection = selection or Selection()
        try:
            network, raw = choose_network(op, state, self.where, ema=selection.ema, entry=selection.entry)
            self._tensors = self._checked(network)
        except BaseException:
            self.close()
            raise
        self.network, self.passed_over = network.name, None if raw is None else raw.name
        self.shapes = {name: tuple(map(int, tensor.shape)) for name, tensor in self._tensors.items()}

    def take(self, name: str) -> Array:
        """The elements of a tensor, which can be taken once.

        Raises:
            ValueError: The tensor is not dense, or the file has become shorter.
        """
        value = self._tensors.pop(name)
        if self._file is not None:
            return self._file.read(value.name)
        return _as_array(self._op, name, value, self.where)

    def check_unchanged(self) -> None:
        """Raises ValueError if another process wrote to the file since it was opened."""
        if self._file is not None:
            self._file.check_unchanged()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    _file: TensorFile | None

    def _open(self, path: Path) -> Mapping[str, StoredTensor] | Mapping[Any, Any]:
        suffix = path.suffix.lower()
        if suffix == _SAFETENSORS:
            self._file = TensorFile(self._op, path)
            self.texts = self._file.texts
            return self._file.tensors
        if suffix in _PICKLED:
            return read_pickled(self._op, path)
        open_file(self._op, path).close()
        raise ValueError(
            f"{self._op}: the file must end in {_SAFETENSORS} or one of {', '.join(_PICKLED)}, "
            f"got {path.name}"
        )

    def _checked(self, network: Network) -> dict[str, Any]:
        tensors = {}
        for name, value in network.tensors.items():
            if not isinstance(name, str):
                raise ValueError(f"{self._op}: the names in {self.where} must be strings, got {name!r}")
            if isinstance(value, StandIn):
                raise ValueError(
                    f"{self._op}: {self.where} must be an undamaged PyTorch file of tensors only: "
                    f"{name!r} is an object of {value.path}"
                )
            if not is_tensor(value):
                raise ValueError(
                    f"{self._op}: {name!r} in {self.where} must be a tensor, got {type(value).__name__}"
                )
            if name.rpartition(".")[2] not in _FOREIGN_COUNTERS:
                tensors[name] = value
        return tensors


def _as_array(op: str, name: str, value: Any, where: str) -> Array:
    try:
        if hasattr(value, "detach") and hasattr(value, "element_size"):  # PyTorch's
            value = value.detach().cpu()
            if value.dtype.is_floating_point and value.element_size() < 4:
                value = value.float()  # bfloat16 and the 8-bit types have no NumPy dtype
        return np.asarray(value)
    except (AttributeError, TypeError, RuntimeError, ValueError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{op}: {name!r} in {where} must be a dense tensor: {reason}") from None
