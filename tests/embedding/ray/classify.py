"""Classes of all images below a folder, by the workers of a Ray cluster: ``classify.py FOLDER [WORKERS]``."""

from __future__ import annotations

import sys

import ray

import lucid.ray


def main(folder: str, workers: int = 2) -> None:
    ray.init()
    share = (ray.cluster_resources()["CPU"] - 1) / workers  # one is left to read files
    images = ray.data.read_binary_files(folder, include_paths=True)
    found = images.map_batches(
        lucid.ray.Classifier,
        fn_constructor_kwargs={"model": "resnext_digits", "column": "bytes", "batch_size": 16},
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=int(share) if share > 1 else share,
    )
    for row in found.iter_rows():
        print(f"{row['path']}: {row['error'] or row['label']}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
