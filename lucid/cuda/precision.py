"""The precision of float32 on a device."""

from lucid import _core


def get_allow_tf32() -> bool:
    """Whether convolutions of float32 may round their factors to TF32; False unless changed."""
    return _core.cuda_tf32_allowed()


def set_allow_tf32(allowed: bool) -> None:
    """Lets matrix units compute convolutions of float32, in all threads and in plans that are compiled later.

    Factors are then rounded to TF32, which has 11 significant bits where float32 has 24: an error of up to
    2^-10 of the sum of the products' magnitudes. Sums are still formed in float32. What has no kernel for it,
    such as grouped convolutions of few channels and ``linear``, stays exact.
    """
    if not isinstance(allowed, bool):
        raise TypeError(f"set_allow_tf32: allowed must be a bool, got {allowed!r}")
    _core.cuda_allow_tf32(allowed)
