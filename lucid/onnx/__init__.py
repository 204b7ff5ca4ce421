"""ONNX files in and out: ``export`` writes what other engines run, ``load`` reads what others wrote."""

from __future__ import annotations

from lucid.onnx.export import export
from lucid.onnx.load import load
from lucid.onnx.nodes import to_onnx

__all__ = ["export", "load", "to_onnx"]
