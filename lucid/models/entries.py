"""The network inside a training checkpoint: which entry of the file, behind which prefix, averaged or not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lucid.models.keymap import is_head

__all__ = ["Network", "choose_network", "is_tensor"]

# Names under which training programs keep a network, the likeliest first. timm looks for `state_dict` and
# then for `model`.
_USUAL = (
    "state_dict", "model", "model_state_dict", "model_state", "net", "network", "params", "weights", "module",
    "model_weights", "net_state_dict", "network_state_dict", "backbone", "encoder", "student",
)  # fmt: skip

# Averages over training: `state_dict_ema`, `model_ema`, `params_ema`, `ema_model`, `ema`, `swa_state_dict`.
_AVERAGED = re.compile(r"(?:^|[^a-z])(?:ema|swa)(?![a-z])|ema(?:$|\.)", re.IGNORECASE)

# A tensor that every network of the families has, in every scheme of names.
_ANCHOR = re.compile(r"^(.*?)layer1\.0\.conv1\.")

_DEEPEST = 4  # dictionaries in dictionaries: {"ema": {"module": {...}}} is two


@dataclass(frozen=True)
class Network:
    """One set of weights in a file.

    Attributes:
        name: Path of dictionary keys and prefix of the tensors' names, with dots between
            (``state_dict.model``); empty if the file is nothing but the network.
        tensors: The tensors by their names without that prefix.
    """

    name: str
    tensors: Mapping[str, Any]

    @property
    def is_averaged(self) -> bool:
        """Whether the name says that the weights are a moving average over the training."""
        return bool(_AVERAGED.search(self.name))


def is_tensor(value: Any) -> bool:
    """Whether a value is an array or a tensor of some library."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def choose_network(
    op: str, state: Mapping[Any, Any], where: str, *, ema: bool | None = None, entry: str | None = None
) -> tuple[Network, Network | None]:
    """The network to load, and where an average was preferred the raw weights beside it.

    Args:
        op: The call that the user made, for messages.
        state: A state dict, or a training checkpoint that holds one or more.
        where: What to call it in messages.
        ema: True takes averaged weights and False raw ones; None averaged ones where there are any.
        entry: Name of the network to take.

    Raises:
        ValueError: There is no such network, or several and nothing to tell which one is meant.
    """
    found = list(_networks(state))
    if entry is not None:
        return _named(op, found, where, entry), None
    averaged = [network for network in found if network.is_averaged]
    raw = [network for network in found if not network.is_averaged]
    if ema is True and not averaged:
        raise ValueError(f"{op}: {where} must have EMA weights for ema=True, {_listing(found)}")
    if ema is False and averaged and not raw:
        raise ValueError(f"{op}: {where} must have raw weights for ema=False, {_listing(found)}")
    if averaged and ema is not False:
        return _likeliest(op, averaged, where), raw[0] if raw and ema is None else None
    if raw:
        return _likeliest(op, raw, where), None
    return Network("", state), None


def _named(op: str, found: list[Network], where: str, entry: str) -> Network:
    wanted = entry.strip(".")
    chosen = [network for network in found if network.name == wanted]
    chosen = chosen or [network for network in found if network.name.startswith(f"{wanted}.")]
    if chosen:
        return _likeliest(op, chosen, where)
    raise ValueError(f"{op}: {where} must have an entry {entry!r}, {_listing(found)}")


def _likeliest(op: str, networks: list[Network], where: str) -> Network:
    """The network with the most usual name; ValueError where several have unusual ones."""
    ranked = sorted(networks, key=_rank)
    if len(ranked) > 1 and _rank(ranked[0]) == _rank(ranked[1]):
        raise ValueError(
            f"{op}: {where} holds more than one network ({_names(networks)}): choose one with "
            f"entry={ranked[0].name!r}"
        )
    return ranked[0]


def _rank(network: Network) -> int:
    """Position of the first part of a name that is among the usual ones; those with none come last."""
    bare = re.sub(r"(?:^|[._-])(?:ema|swa)(?=$|[._-])", ".", network.name, flags=re.IGNORECASE).strip("._-")
    parts = [part.strip("_-") for part in bare.split(".")]
    if not bare:
        return -1
    return min((_USUAL.index(part) for part in parts if part in _USUAL), default=len(_USUAL))


def _listing(networks: list[Network]) -> str:
    return f"got {_names(networks)}" if networks else "got none"


def _names(networks: list[Network]) -> str:
    return ", ".join(repr(network.name) if network.name else "one without a name" for network in networks)


def _networks(state: Mapping[Any, Any]) -> Iterator[Network]:
    """The networks in a checkpoint.

    A dictionary counts if it holds tensors. Those with a first stage go before all others, as optimizers and
    losses hold tensors, too.
    """
    dictionaries = list(_dictionaries(state, "", 0))
    found = [network for path, values in dictionaries for network in _split(path, values)]
    if found:
        yield from found
    else:
        yield from (Network(path, _tensors(values)) for path, values in dictionaries)


def _dictionaries(state: Mapping[Any, Any], path: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if any(isinstance(name, str) and is_tensor(value) for name, value in state.items()):
        yield path, state
    if depth < _DEEPEST:
        for name, value in state.items():
            if isinstance(name, str) and isinstance(value, Mapping):
                yield from _dictionaries(value, f"{path}.{name}" if path else name, depth + 1)


def _tensors(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """``values`` without the numbers and texts beside the tensors: a step, an architecture's name."""
    return {name: value for name, value in values.items() if is_tensor(value) or "." in str(name)}


def _split(path: str, values: Mapping[str, Any]) -> Iterator[Network]:
    """The networks of one dictionary, each behind a prefix of its own."""
    tensors = _tensors(values)
    matches = [_ANCHOR.match(name) for name in tensors if isinstance(name, str)]
    prefixes = list(dict.fromkeys(match[1] for match in matches if match))
    for prefix in prefixes:
        own = {name[len(prefix) :]: value for name, value in tensors.items() if str(name).startswith(prefix)}
        if prefix and not any(is_head(name) for name in own):
            # `backbone.layer1...` beside `head.fc.weight`.
            own |= {name: value for name, value in tensors.items() if is_head(name)}
        yield Network(".".join(part for part in (path, prefix.strip(".")) if part), own)
