"""Two workers, one of which is killed in its third batch: ``killed_worker.py FOLDER``.

FOLDER gets the rows in rows.json, and remembers who was killed, and which threads each worker had.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray
from PIL import Image

import lucid
import lucid.ray

COUNT = 2000


class Mortal(lucid.ray.Classifier):
    def __init__(self, *, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self.folder, self.batches = Path(folder), 0
        (self.folder / f"threads-{os.getpid()}").write_text(str(lucid.get_num_threads()))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.batches += 1
        if self.batches == 3:
            with contextlib.suppress(FileExistsError):
                (self.folder / "killed").open("x").close()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


def images(batch: dict[str, Any]) -> dict[str, Any]:
    """An image for each number; every hundredth is none."""
    generators = [np.random.default_rng(number) for number in batch["id"]]
    pixels: list[Any] = [generator.integers(0, 256, (8, 8), np.uint8) for generator in generators]
    batch["image"] = np.empty(len(pixels), dtype=object)
    for row, (number, image) in enumerate(zip(batch["id"], pixels, strict=True)):
        batch["image"][row] = image.tobytes() if number % 100 == 99 else png(image)
    return batch


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def main(folder: str) -> None:
    ray.init(num_cpus=3, include_dashboard=False)  # two for the workers, one to read
    found = (
        ray.data.range(COUNT, override_num_blocks=20)
        .map_batches(images)
        .map_batches(
            Mortal,
            fn_constructor_kwargs={"model": "resnext_digits", "topk": 2, "folder": folder},
            batch_size=50,
            compute=ray.data.ActorPoolStrategy(size=2),
            num_cpus=1,
        )
    )
    names = ("id", "index", "indices", "error")
    rows = [{name: np.asarray(row[name]).tolist() for name in names} for row in found.iter_rows()]
    (Path(folder) / "rows.json").write_text(json.dumps(rows))  # Ray prints too


if __name__ == "__main__":
    main(sys.argv[1])
