"""Parameter names: every scheme that published files use, led to the one that models here have.

Models here use the names of torchvision and timm, which are also zhanghang1989's and Gluon's. The other
schemes:

=============  ============================  =============================  ====================
tensor         lucid 2.x ResNeXt             lucid 2.x ResNeSt              lucid 3.x
=============  ============================  =============================  ====================
stem           ``stem.N``                    ``stem.N``                     ``stem.N`` (ResNeXt)
1x1 reduction  ``conv1.conv``, ``conv1.bn``  ``conv1.conv``, ``conv1.bn``   -
grouped 3x3    ``conv2.conv``, ``conv2.bn``  ``conv2.conv``, ``conv2.bn0``  -
attention      -                             ``fc1.conv``, ``fc1.bn``       -
1x1 expansion  ``conv3.0``, ``conv3.1``      -                              -
head           -                             -                              ``classifier``
=============  ============================  =============================  ====================

Cadene's files call the head ``last_linear``, OpenMMLab's ``head.fc``; a head with dropout before it is
``fc.1``. Wrappers put ``module.`` (DataParallel), ``model.``, ``_orig_mod.`` (torch.compile) or the like
before all of them, which ``entries`` strips.

The deep stem of lucid 2.x ends in its last convolution: the batch norm that follows it everywhere else
(``bn1``), and the ReLU after that, do not exist there. No values for ``bn1`` reproduce that network, as the
ReLU stays, so the loader refuses such a file unless it is told to accept the difference.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable

__all__ = ["is_head", "lacks_stem_norm", "rename"]

_PREFIX = re.compile(r"^(?:module\.|model\.|_orig_mod\.)+")
_HEADS = r"(?:fc|classifier|last_linear|linear|(?:cls_)?head(?:\.fc)?)(?:\.\d+)?\."
_HEAD = re.compile(rf"^(?:.*\.)?{_HEADS}(?:weight|bias)$")
_BLOCK = r"^(layer[1-4]\.\d+\.)"

# Tried in this order; a result counts only if the model has a parameter of that name. That tells the 3x3
# convolution of lucid 2.x ResNeXt from a split attention's, both of which are `conv2.conv`.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (f"^{_HEADS}", "fc."),
        # Deep before plain: a deep stem has a `bn1` too, and its `stem.1` is another norm.
        (r"^stem\.(\d+)\.", r"conv1.\1."),
        (r"^stem\.7\.", "bn1."),
        (r"^stem\.0\.", "conv1."),
        (r"^stem\.1\.", "bn1."),
        (_BLOCK + r"conv(\d)\.conv\.", r"\1conv\2."),
        (_BLOCK + r"conv(\d)\.bn\.", r"\1bn\2."),
        (_BLOCK + r"conv3\.0\.", r"\1conv3."),
        (_BLOCK + r"conv3\.1\.", r"\1bn3."),
        (_BLOCK + r"conv2\.fc1\.conv\.", r"\1conv2.fc1."),
        (_BLOCK + r"conv2\.fc1\.bn\.", r"\1conv2.bn1."),
    )
)


def is_head(name: str) -> bool:
    """Whether a tensor belongs to the last layer, by its name in any scheme."""
    return bool(_HEAD.match(name))


def rename(names: Iterable[str], expected: Container[str], *, op: str = "load_weights") -> dict[str, str]:
    """The model's name of each tensor in a file; a name that leads nowhere only loses its prefix.

    Args:
        op: The call that the user made, for messages.
        names: Names in the file.
        expected: Names of the model's parameters and buffers.

    Raises:
        ValueError: Two names lead to the same parameter.
    """
    renamed: dict[str, str] = {}
    sources: dict[str, str] = {}
    for name in names:
        target = _target(name, expected)
        if target in sources:
            raise ValueError(f"{op}: {sources[target]!r} and {name!r} both stand for {target!r}")
        sources[target] = name
        renamed[name] = target
    return renamed


def _target(name: str, expected: Container[str]) -> str:
    if name in expected:
        return name
    bare = _PREFIX.sub("", name)
    if bare in expected:
        return bare
    for pattern, replacement in _RULES:
        candidate = pattern.sub(replacement, bare)
        if candidate != bare and candidate in expected:
            return candidate
    return bare


def lacks_stem_norm(names: Collection[str], expected: Collection[str]) -> bool:
    """Whether ``names`` have a deep stem without the norm that ends it, as lucid 2.x writes it."""
    return (
        "conv1.6.weight" in names
        and "bn1.running_mean" in expected
        and not any(name.startswith("bn1.") for name in names)
    )
