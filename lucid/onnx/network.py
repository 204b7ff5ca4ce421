"""A network that an ONNX file holds, for inputs of more than one shape."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from lucid.inference import Graph
from lucid.onnx.load import input_sizes, load

__all__ = ["OnnxNetwork", "is_onnx_file"]

_USUAL_CHANNELS = 3


def is_onnx_file(name: object) -> bool:
    """Whether a name of a model is the path of an ONNX file, which it is by its ending."""
    return isinstance(name, (str, PathLike)) and Path(name).suffix == ".onnx"


class OnnxNetwork:
    """The network of a file with one image as its input.

    Attributes:
        path: The file, which is read for each shape.
        name: Its name without the ending.
        batch, channels, height, width: Sizes of the input; None where the file leaves them open. Open
            channels are 3.

    Raises:
        ValueError: The file has another kind of input, or as for ``load``.
        ImportError, FileNotFoundError, NotImplementedError: As for ``load``.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.name = self.path.stem
        sizes = input_sizes(self.path)
        if len(sizes) != 1 or len(sizes[0]) != 4:
            raise ValueError(f"onnx.load: {path} must take one image, (n, c, h, w), got inputs of {sizes}")
        self.batch, channels, self.height, self.width = sizes[0]
        self.channels = channels or _USUAL_CHANNELS

    def graph(self, batch: int, height: int, width: int) -> Graph:
        """The computation for a shape.

        Raises:
            ValueError: The file is for another shape only.
        """
        return load(self.path, (batch, self.channels, height, width))
