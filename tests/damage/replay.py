"""Reads damaged files: each must load or end in a ValueError, soon, and in little memory.

    python tests/damage/replay.py KIND

is a process of its own, since a crash would end it. It prints what went wrong and the number of files.
"""

from __future__ import annotations

import faulthandler
import itertools
import math
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from damage import Damaged

SECONDS = 20.0  # for a file, on a machine that is busy and under a sanitizer
MEGABYTES = 400  # more than any of the files may take, beyond what its reader takes
ADDRESS_SPACE = 3 << 30  # likewise, of memory that is asked for and not used
FOUND = Path(__file__).parent / "found"

sys.path.append(str(Path(__file__).parent.parent))  # c_abi.py and the like


def read_plan(path: Path) -> None:
    """By Python and by C, which must accept the same files."""
    from plan_loading import LoadedPlan

    import lucid

    try:
        plan = lucid.load_plan(path)
    except ValueError as error:
        try:
            LoadedPlan(path).close()
        except ValueError:
            raise error from None
        raise AssertionError(f"C reads what Python refuses: {error}") from None
    loaded = LoadedPlan(path)
    floats = sum(math.prod(shape) for shape in (*plan.input_shapes, *plan.output_shapes))
    if floats + plan.memory()["arena"] < 1 << 24:  # else it is a plan for a larger machine
        inputs = [np.zeros(*each) for each in zip(plan.input_shapes, plan.input_dtypes, strict=True)]
        outputs = plan(*inputs)
        expected = outputs if isinstance(outputs, tuple) else (outputs,)
        for ours, theirs in zip(loaded(*inputs), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    loaded.close()


def read_weights(path: Path) -> None:
    from damaged_tensors import small_model

    from lucid.models import load_weights, read_metadata

    load_weights(small_model(), path)
    read_metadata(path)


def read_image(path: Path) -> None:
    from lucid.data import Preprocessing

    array = Preprocessing(16).load(path)
    assert array.shape == (3, 16, 16)
    assert np.isfinite(array).all()


def read_labels(path: Path) -> None:
    from lucid.data import read_labels

    assert all(isinstance(label, str) for label in read_labels(path))


def read_config(path: Path) -> None:
    """With what ``preprocessing`` and ``create_model`` ask a hub repository's config for."""
    from lucid.models.hub_config import read_hub_config

    for classes in (None, 3):
        read_hub_config(path.with_name("weights.safetensors"), classes).to_texts()


def kinds() -> dict[str, tuple[Callable[[Path], Damaged], str, Callable[[Path], None]]]:
    """The files of a kind, their name, and what reads them."""
    import damaged_tensors
    import damaged_texts

    return {
        "plan": (damaged_tensors.plans, "plan.lucid", read_plan),
        "weights": (damaged_tensors.weights, "weights.safetensors", read_weights),
        "checkpoint": (damaged_tensors.checkpoints, "weights.pth", read_weights),
        "image": (damaged_texts.images, "image.img", read_image),
        "labels": (damaged_texts.labels, "labels.txt", read_labels),
        "config": (damaged_texts.configs, "config.json", read_config),
    }


def forget_peak() -> float:
    """Lets the peak of memory begin anew, and gives the megabytes that this process has now.

    That of ``getrusage`` begins with the memory of the process that forked this one, and hides all below it.
    """
    Path("/proc/self/clear_refs").write_text("5")
    return peak_megabytes()


def peak_megabytes() -> float:
    """The most memory that this process has had since ``forget_peak``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def sanitized() -> bool:
    """Whether AddressSanitizer is there, which fills all memory that is asked for, used or not."""
    return "asan" in os.environ.get("LD_PRELOAD", "")


def allowed_megabytes() -> float:
    """More than any of the files may take."""
    return ADDRESS_SPACE >> 20 if sanitized() else MEGABYTES


def limit_memory() -> None:
    """Makes an absurd allocation fail; AddressSanitizer takes terabytes itself and has an option for that."""
    if not sanitized():
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def complaint(read: Callable[[Path], Any], path: Path, megabytes: float) -> str | None:
    """The fault in the way in which a file was read; None if there is none.

    Args:
        megabytes: That it may take while it is read.
    """
    before, start = forget_peak(), time.monotonic()
    try:
        read(path)
    except ValueError as error:
        if len(str(error)) > 2000:
            return f"a message of {len(str(error))} characters: {error!s:.200}"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200}"
    if (taken := peak_megabytes() - before) > megabytes:
        return f"{taken:.0f} MB"
    seconds = time.monotonic() - start
    return f"{seconds:.1f} s" if seconds > SECONDS / 2 else None


def found(kind: str) -> Damaged:
    """Files that have done harm once."""
    for path in sorted(FOUND.glob(f"{kind}-*")):
        yield path.name, path.read_bytes()


def main(kind: str) -> int:
    warnings.simplefilter("ignore")
    files, file_name, read = kinds()[kind]
    count, wrong = 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / file_name
        for what, content in itertools.chain(files(folder), found(kind)):
            path.write_bytes(content)
            if count == 0:  # the whole file: imports what there is to import, and must load
                read(path)
                limit_memory()
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            print(what, file=sys.stderr, flush=True)  # the last of these lines names what crashed
            reason = complaint(read, path, allowed_megabytes())
            if reason is not None:
                wrong.append(f"{what}: {reason}")
            count += 1
        faulthandler.cancel_dump_traceback_later()
    print(*wrong, f"{len(wrong)} of {count} files were read wrongly", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
