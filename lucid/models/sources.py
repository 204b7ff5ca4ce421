"""The place that a source of weights names: a path, an address on the hub, or a published tag.

A text is looked at once, here; from then on its parts go down separately.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

from lucid.models.hub import PREFIX, Address
from lucid.models.pretrained import pretrained_path
from lucid.models.registry import find_weights
from lucid.models.tags import WeightTag, identify

__all__ = ["Source", "resolve"]

# A folder as timm and transformers write it holds the weights under one of these names.
_FILES_OF_FOLDERS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Source:
    """A weight file, wherever it is.

    Attributes:
        text: The user's own words, for messages.
        path: The local file, or None.
        address: The file on the hub, or None.
        tag: The published weights that these are, as far as the name tells.
    """

    text: str
    path: Path | None = None
    address: Address | None = None
    tag: WeightTag | None = None

    def file(self, op: str) -> Path:
        """The local file; downloads it where it must.

        Args:
            op: The call that the user made, for messages.

        Raises:
            ImportError: The hub is asked for and huggingface_hub is not installed.
            FileNotFoundError: The file is neither here nor to be had.
        """
        if self.path is not None:
            return self.path
        if self.address is not None:
            return self.address.download(op, with_config=self.tag is None)
        assert self.tag is not None
        raise FileNotFoundError(
            f"{op}: {self.text} is on no hub; download {self.tag.origin} and pass the path of the file"
        )


def resolve(op: str, source: str | PathLike[str], preset: str | None = None) -> Source:
    """The file that a source names. A file that exists goes before a tag of the same name.

    Args:
        op: The call that the user made, for messages.
        source: A path; ``hub:OWNER/NAME``, optionally with ``@REVISION`` and ``/FILE`` after it (the file is
            ``model.safetensors`` otherwise); a tag (``resnest50d.in1k``), which stands for its hub
            repository; or with a ``preset`` also ``"pretrained"``.
        preset: Name of the preset that the weights are for.

    Raises:
        TypeError: ``source`` is nothing that names a file.
        ValueError: The address is malformed, or no weights ship for the preset.
    """
    if not isinstance(source, (str, PathLike)):
        raise TypeError(
            f"{op}: weights must be a path, hub:OWNER/NAME, a tag or a state dict (model.state_dict()), "
            f"got {type(source).__name__}"
        )
    text = fspath(source)
    if preset is not None and text == "pretrained":
        return Source(text, pretrained_path(preset))
    if text.startswith(PREFIX):
        return Source(text, address=Address.parse(op, text), tag=identify(text))
    path = Path(text).expanduser()
    tag = None if path.exists() else find_weights(text)
    if tag is not None:
        return Source(text, address=Address(tag.hub) if tag.hub else None, tag=tag)
    if path.is_dir():
        inside = [path / name for name in _FILES_OF_FOLDERS if (path / name).is_file()]
        path = inside[0] if inside else path
    return Source(text, path, tag=identify(path))
