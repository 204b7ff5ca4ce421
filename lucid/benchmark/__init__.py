"""Benchmarks: lucid beside other engines on single convolutions and on whole models, on the CPU or a GPU.

``lucid bench`` is the command. Every engine computes the same ``Graph`` with the same weights, from an input
in the layout that suits it; what it gives is checked before it is timed, and all take turns in every round.
"""

from __future__ import annotations

from lucid.benchmark import bars, figure, roofline, time_by_layer
from lucid.benchmark.bfloat16_engines import BFLOAT16_ENGINES, BFLOAT16_PEERS
from lucid.benchmark.cases import Case, conv2d_cases, model_case
from lucid.benchmark.change import Change, changes, changes_table
from lucid.benchmark.comparison import Comparison, compare
from lucid.benchmark.cuda_engines import CUDA_PEERS, cuda_engines
from lucid.benchmark.engines import ENGINES, OWN, PEERS
from lucid.benchmark.gpu import Gpu
from lucid.benchmark.gradients import GRADIENT_ENGINES, gradient_case
from lucid.benchmark.machine import Machine
from lucid.benchmark.numpy_engine import NUMPY
from lucid.benchmark.onnx_case import onnx_case
from lucid.benchmark.operator_cases import OPERATORS, operator_cases
from lucid.benchmark.report import as_json, cases_table, engines_table, throughput_table
from lucid.benchmark.streams import STREAM_PEERS, stream_engines
from lucid.benchmark.throughput import Throughput, compare_throughput
from lucid.benchmark.timing import Timing, alternate
from lucid.benchmark.torch_settings import SETTINGS, best_setting, with_settings

__all__ = [
    "BFLOAT16_ENGINES",
    "BFLOAT16_PEERS",
    "CUDA_PEERS",
    "ENGINES",
    "GRADIENT_ENGINES",
    "NUMPY",
    "OPERATORS",
    "OWN",
    "PEERS",
    "SETTINGS",
    "STREAM_PEERS",
    "Case",
    "Change",
    "Comparison",
    "Gpu",
    "Machine",
    "Throughput",
    "Timing",
    "alternate",
    "as_json",
    "bars",
    "best_setting",
    "cases_table",
    "changes",
    "changes_table",
    "compare",
    "compare_throughput",
    "conv2d_cases",
    "cuda_engines",
    "engines_table",
    "figure",
    "gradient_case",
    "model_case",
    "onnx_case",
    "operator_cases",
    "roofline",
    "stream_engines",
    "throughput_table",
    "time_by_layer",
    "with_settings",
]
