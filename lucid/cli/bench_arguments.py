"""Arguments of lucid bench."""

from __future__ import annotations

import argparse

from lucid.cli import bench_compare
from lucid.cli.arguments import image_size, positive, positives

__all__ = [
    "BACKWARD_PEERS",
    "BFLOAT16_PEERS",
    "CUDA_PEERS",
    "KERNEL_MODELS",
    "PEERS",
    "QUICK_ROUNDS",
    "ROUNDS",
    "STREAM_PEERS",
    "add_arguments",
]

PEERS = ("torch", "openvino", "onnxruntime", "ai-edge-litert", "numpy")
CUDA_PEERS = ("torch",)
BFLOAT16_PEERS = ("torch", "openvino")
BACKWARD_PEERS = ("torch",)
STREAM_PEERS = ("openvino", "onnxruntime")
DTYPES = ("float32", "float16", "bfloat16")
# Without ResNeXt-101 of 16 to 48 channels a group, whose weights fill gigabytes. The smaller models come
# first, since --quick leaves out what is last.
KERNEL_MODELS = (
    "resnext50_32x4d",
    "resnest50",
    "resnext101_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "resnest101",
    "resnest269",
)
ROUNDS, QUICK_ROUNDS = 7, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lucid bench``."""
    kinds = parser.add_subparsers(dest="kind", metavar="kernel|model|compare", required=True)
    kernel = kinds.add_parser("kernel", help="single convolutions of models", allow_abbrev=False)
    kernel.add_argument("filters", nargs="*", metavar="TEXT", help="what the names of the cases must contain")
    kernel.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help=f"whose convolutions; may be repeated (default {', '.join(KERNEL_MODELS)})",
    )
    kernel.add_argument(
        "--list", action="store_true", help="print the cases, operator, shape and attributes; measure nothing"
    )
    kernel.add_argument(
        "--backward",
        action="store_true",
        help="the gradients of inputs and weights instead, beside PyTorch's autograd",
    )
    kernel.add_argument(
        "--plot", metavar="FILE", help="draw bars of lucid and the peers, .svg or .png (needs matplotlib)"
    )
    kernel.add_argument("--roofline", metavar="FILE", help="draw a roofline, .svg or .png (needs matplotlib)")
    kernel.set_defaults(throughput=False)
    model = kinds.add_parser("model", help="a whole model", allow_abbrev=False)
    model.add_argument("model", metavar="NAME", help="e.g. resnext50_32x4d, or model.onnx")
    model.add_argument("--layers", action="store_true", help="show the time of each step of the plan, too")
    model.add_argument(
        "--plot", metavar="FILE", help="draw the plan's time by layer, .svg or .png (needs matplotlib)"
    )
    model.add_argument(
        "--throughput",
        action="store_true",
        help="images a second instead, of several calls at once and of one at a time",
    )
    for command in (kernel, model):
        _add_settings(command)
    compare = kinds.add_parser("compare", help="two reports: what became slower", allow_abbrev=False)
    bench_compare.add_arguments(compare)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch", type=positives, default=(1,), metavar="LIST", help="images; 1,8 measures both (default 1)"
    )
    parser.add_argument(
        "--size",
        type=image_size,
        default=(224, 224),
        metavar="N|HxW",
        help="pixels of the image (default 224)",
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default), cuda, cuda:1")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="of the engines (default float32); bfloat16 for a model on the CPU as well, others on cuda",
    )
    parser.add_argument(
        "--threads",
        type=positives,
        metavar="LIST",
        help="of every engine; 1,2 measures both (default: lucid's)",
    )
    parser.add_argument("--isa", metavar="NAME", help="pin an instruction set, such as avx2")
    parser.add_argument(
        "--rounds",
        type=positive,
        metavar="N",
        help=f"turns of each engine (default {ROUNDS}, with --quick {QUICK_ROUNDS})",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="end in about a minute, with fewer rounds and what fits of the cases",
    )
    parser.add_argument(
        "--peers",
        type=_peers,
        metavar="LIST",
        help=f"engines to compare with, or none (default {','.join(PEERS[:3])}; for convolutions "
        f"with {PEERS[3]}, which is XNNPACK; with {PEERS[4]} where it has a formula; "
        f"on a GPU {CUDA_PEERS[0]}; with --throughput {','.join(STREAM_PEERS)})",
    )
    parser.add_argument("--json", metavar="FILE", help="write all that was measured")


def _peers(text: str) -> tuple[str, ...]:
    names = () if text == "none" else tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(PEERS)}, or none, got {unknown[0]!r}")
    return names
