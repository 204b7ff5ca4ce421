"""Files in repositories on Hugging Face's hub."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

__all__ = ["PREFIX", "Address"]

PREFIX = "hub:"
_DEFAULT_FILE = "model.safetensors"
_CONFIG = "config.json"


@dataclass(frozen=True)
class Address:
    """A file on the hub.

    Attributes:
        repository: ``OWNER/NAME``.
        file: Path in the repository.
        revision: Branch, tag or commit; None is the newest.
    """

    repository: str
    file: str = _DEFAULT_FILE
    revision: str | None = None

    @classmethod
    def parse(cls, op: str, text: str) -> Address:
        """The address that ``hub:OWNER/NAME[@REVISION][/FILE]`` stands for.

        Raises:
            ValueError: It is malformed.
        """
        owner, _, rest = text[len(PREFIX) :].partition("/")
        name, _, file = rest.partition("/")
        name, _, revision = name.partition("@")
        if not owner or not name:
            raise ValueError(f"{op}: a hub address must be hub:OWNER/NAME, got {text!r}")
        return cls(f"{owner}/{name}", file or _DEFAULT_FILE, revision or None)

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        file = f"/{self.file}" if self.file != _DEFAULT_FILE else ""
        return f"{PREFIX}{self.repository}{revision}{file}"

    def download(self, op: str, *, with_config: bool) -> Path:
        """The file in the local cache, downloaded if it is not there.

        Args:
            op: The call that the user made, for messages.
            with_config: Whether to get ``config.json`` as well, where the repository has it.

        Raises:
            ImportError: huggingface_hub is not installed.
            FileNotFoundError: The file is neither in the cache nor to be had.
            ValueError: The hub refuses the address.
        """
        url = f"https://huggingface.co/{self.repository}/resolve/{quote(self.revision or 'main')}/{self.file}"
        by_hand = f"download {url} yourself and pass its path"
        try:
            from huggingface_hub import constants, hf_hub_download
            from huggingface_hub.errors import HFValidationError
        except ImportError:
            raise ImportError(
                f"{op}: {self} needs huggingface_hub: pip install 'lucid-kernels[hub]', or {by_hand}"
            ) from None
        try:
            path = Path(hf_hub_download(self.repository, self.file, revision=self.revision))
        except HFValidationError as error:
            raise ValueError(f"{op}: a hub address must be hub:OWNER/NAME, got '{self}': {error}") from None
        except Exception as error:  # its HTTP client's errors share no base class
            if constants.HF_HUB_OFFLINE:
                reason = "HF_HUB_OFFLINE is set"
            else:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise FileNotFoundError(
                f"{op}: {self} is not in the cache {constants.HF_HUB_CACHE} and cannot be downloaded "
                f"({reason}); {by_hand}"
            ) from error
        if with_config:
            with suppress(Exception):  # many repositories have none, and the weights are of use without it
                hf_hub_download(self.repository, _CONFIG, revision=self.revision)
        return path
