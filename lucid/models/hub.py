"""The file that a source of weights names: a path, a published tag, or a repository on Hugging Face's hub."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from lucid.models._registry import find_weights
from lucid.models.tags import WeightTag, identify

__all__ = ["locate", "tag_of"]

_PREFIX = "hub:"
_DEFAULT_FILE = "model.safetensors"


def tag_of(source: str | PathLike[str]) -> WeightTag | None:
    """The published weights that a source stands for, as far as its name tells."""
    return _named(source) or identify(source)


def _named(source: str | PathLike[str]) -> WeightTag | None:
    """The weights whose tag a source is, unless there is a file of that name."""
    return None if Path(source).exists() else find_weights(fspath(source))


def locate(source: str | PathLike[str]) -> Path:
    """The local file of a source; downloads it where it must.

    Args:
        source: A path; ``hub:OWNER/NAME``, optionally with ``@REVISION`` and ``/FILE`` after it (the file is
            ``model.safetensors`` otherwise); or a tag (``resnest50d.in1k``), which stands for its hub
            repository.

    Raises:
        ImportError: The hub is asked for and huggingface_hub is not installed.
        FileNotFoundError: The file is neither here nor to be had.
        ValueError: The address is malformed.
    """
    text = fspath(source)
    if text.startswith(_PREFIX):
        return _download(text)
    tag = _named(source)
    if tag is None:
        return Path(text).expanduser()
    if tag.hub is None:
        raise FileNotFoundError(
            f"load_weights: {text} is on no hub; download {tag.origin} and pass the path of the file"
        )
    return _download(_PREFIX + tag.hub)


def _parse(address: str) -> tuple[str, str, str | None]:
    """Repository, file and revision of ``hub:OWNER/NAME[@REVISION][/FILE]``."""
    body = address[len(_PREFIX) :]
    owner, _, rest = body.partition("/")
    name, _, file = rest.partition("/")
    name, _, revision = name.partition("@")
    if not owner or not name:
        raise ValueError(f"load_weights: a hub address must be hub:OWNER/NAME, got {address!r}")
    return f"{owner}/{name}", file or _DEFAULT_FILE, revision or None


def _download(address: str) -> Path:
    repository, file, revision = _parse(address)
    url = f"https://huggingface.co/{repository}/resolve/{revision or 'main'}/{file}"
    by_hand = f"download {url} yourself and pass its path"
    try:
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        raise ImportError(
            f"load_weights: {address} needs huggingface_hub: pip install 'lucid-kernels[hub]', or {by_hand}"
        ) from None
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except HFValidationError as error:
        raise ValueError(
            f"load_weights: a hub address must be hub:OWNER/NAME, got {address!r}: {error}"
        ) from None
    except Exception as error:  # its HTTP client's errors share no base class
        if constants.HF_HUB_OFFLINE:
            reason = "HF_HUB_OFFLINE is set"
        else:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileNotFoundError(
            f"load_weights: {address} is not in the cache {constants.HF_HUB_CACHE} and cannot be downloaded "
            f"({reason}); {by_hand}"
        ) from error
