"""Weights that ship inside the package, so that lucid classifies real images with no network.

``create_model("resnext_digits", weights="pretrained")``, and the same for ``resnest_digits``, give a trained
model.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["list_pretrained", "pretrained_path"]

_FOLDER = Path(__file__).parent


def list_pretrained() -> list[str]:
    """Names of the models whose weights ship with the package, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.safetensors"))


def pretrained_path(name: str) -> Path:
    """The weight file that ships for the model ``name``.

    Raises:
        ValueError: None does; the message lists those that do.
    """
    if name not in list_pretrained():
        raise ValueError(
            f"pretrained: weights ship for {', '.join(list_pretrained()) or 'no model'} only, got {name!r}; "
            "give a file or a hub address for other models"
        )
    return _FOLDER / f"{name}.safetensors"
