"""ONNX files in and out: ``export`` writes what other engines run, ``load`` reads what others wrote."""

from __future__ import annotations

from lucid.onnx.export import export
from lucid.onnx.load import load
from lucid.onnx.network import OnnxNetwork, is_onnx_file
from lucid.onnx.nodes import to_onnx

__all__ = ["OnnxNetwork", "export", "is_onnx_file", "load", "to_onnx"]
