"""Damaged weight files: each is refused with a ValueError that names it, and the model stays as it was."""

from __future__ import annotations

import json
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest

from lucid.models import ResNeXt, ResNeXtConfig, load_weights, read_metadata, save_weights

CONFIG = ResNeXtConfig((1, 1, 1, 1), 4, 16, num_classes=3, channels=(8, 8, 8, 8))


@pytest.fixture
def model(rng: np.random.Generator) -> ResNeXt:
    model = ResNeXt(CONFIG)
    networks.randomize(model, rng)
    return model


@pytest.fixture
def saved(tmp_path: Path, model: ResNeXt) -> Path:
    save_weights(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def refuse(model: ResNeXt, path: Path, message: str = "must be an undamaged safetensors file") -> None:
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    reads = {"load_weights": partial(load_weights, model), "read_metadata": read_metadata}
    for op, read in reads.items():
        with pytest.raises(ValueError, match=rf"^{op}: .*{path.name} {message}"):
            read(path)
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])


def test_truncated_anywhere(model: ResNeXt, saved: Path) -> None:
    whole = saved.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    lengths = {0, 1, 7, 8, 9, 100, header - 1, header, header + 1, header + 4, len(whole) - 4, len(whole) - 1}
    lengths |= set(np.random.default_rng(0).integers(0, len(whole), 40).tolist())
    for length in sorted(lengths):
        saved.write_bytes(whole[:length])
        refuse(model, saved)


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 4096, b"garbage"], ids=["byte", "page", "text"])
def test_bytes_after_the_end(model: ResNeXt, saved: Path, tail: bytes) -> None:
    saved.write_bytes(saved.read_bytes() + tail)
    refuse(model, saved)


def edited(path: Path, edit: Any) -> None:
    """Rewrites the header of a file; ``edit`` changes it in place or returns another text."""
    whole = path.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    text = edit(header)
    text = json.dumps(header) if text is None else text
    raw = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + whole[end:])


def offsets(name: str, begin: int, end: int) -> Any:
    def edit(header: dict[str, Any]) -> None:
        first, last = header[name]["data_offsets"]
        header[name]["data_offsets"] = [first + begin, last + end]

    return edit


def entry(name: str, **changes: Any) -> Any:
    return lambda header: header[name].update(changes)


HEADERS = {
    "overlapping tensors": offsets("bn1.weight", 4, 4),
    "one tensor's bytes twice": lambda h: h["bn1.bias"].update(data_offsets=h["bn1.weight"]["data_offsets"]),
    "a gap": lambda h: h.pop("bn1.bias") and None,
    "shorter than its shape": offsets("fc.bias", 0, -4),
    "another shape": entry("fc.bias", shape=[4]),
    "a negative size": entry("fc.bias", shape=[-3]),
    "a fractional size": entry("fc.bias", shape=[3.0]),
    "sizes that overflow": entry("fc.bias", shape=[2**62, 8]),
    "an offset beyond 64 bits": entry("fc.bias", data_offsets=[2**70, 2**70 + 12]),
    "a negative offset": entry("fc.bias", data_offsets=[-12, 0]),
    "another dtype": entry("fc.bias", dtype="F16"),
    "an unknown dtype": entry("fc.bias", dtype="F33"),
    "no dtype": lambda h: h["fc.bias"].pop("dtype") and None,
    "an entry of another kind": lambda h: h.update({"fc.bias": 3}),
    "metadata of numbers": lambda h: h.update({"__metadata__": {"a": 3}}),
    "metadata of another kind": lambda h: h.update({"__metadata__": [3]}),
    "not a dictionary": lambda h: "[1, 2]",
    "no JSON": lambda h: "{",
    "no UTF-8": lambda h: b"\xff\xfe{}",
    "empty": lambda h: "",
}


@pytest.mark.parametrize("damage", HEADERS)
def test_inconsistent_headers(model: ResNeXt, saved: Path, damage: str) -> None:
    edited(saved, HEADERS[damage])
    refuse(model, saved)


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**62, 2**64 - 1], ids=hex)
def test_wrong_lengths_of_the_header(model: ResNeXt, saved: Path, length: int) -> None:
    saved.write_bytes(length.to_bytes(8, "little") + saved.read_bytes()[8:])
    refuse(model, saved)


def test_names_given_twice_never_pass_silently(model: ResNeXt, saved: Path) -> None:
    def twice(header: dict[str, Any]) -> str:
        other = dict(header["fc.bias"], data_offsets=header["bn1.bias"]["data_offsets"])
        text = json.dumps(header)
        return text[:-1] + f', "fc.bias": {json.dumps(other)}}}'

    edited(saved, twice)
    refuse(model, saved)


def test_random_damage_to_the_header_is_refused_or_harmless(model: ResNeXt, saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    end = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(7)
    for _ in range(150):
        damaged = bytearray(whole)
        for position in rng.integers(0, end, 2):
            damaged[position] = rng.integers(0, 256)
        saved.write_bytes(damaged)
        try:
            load_weights(model, saved)
        except ValueError as error:
            assert saved.name in str(error)  # noqa: PT017


def test_files_of_no_known_kind(model: ResNeXt, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"must end in .safetensors or one of .pth, .*, got model.onnx$"):
        load_weights(model, tmp_path / "model.onnx")
    (tmp_path / "folder.safetensors").mkdir()
    for path in (tmp_path / "folder.safetensors", tmp_path / "absent.pth", tmp_path / "absent.safetensors"):
        with pytest.raises(FileNotFoundError, match=f"{path.name} must be a file, found "):
            load_weights(model, path)


class TestPickled:
    """Files of PyTorch, read by PyTorch."""

    def save(self, value: Any, path: Path) -> Path:
        torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch")
        torch.save(value, path)
        return path

    def tensors(self, model: ResNeXt) -> dict[str, Any]:
        torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch")
        return {name: torch.from_numpy(t.numpy().copy()) for name, t in model.state_dict().items()}

    def test_loads(self, model: ResNeXt, tmp_path: Path) -> None:
        state = self.tensors(model)
        wrapped = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
        for name, content in (("model.pth", state), ("checkpoint.pth.tar", wrapped), ("model.bin", state)):
            target = ResNeXt(CONFIG)
            load_weights(target, self.save(content, tmp_path / name))
            for key, tensor in target.state_dict().items():
                np.testing.assert_array_equal(tensor.numpy(), state[key].numpy())

    def test_loads_views_parameters_and_half_precision(self, model: ResNeXt, tmp_path: Path) -> None:
        state = self.tensors(model)
        torch = pytest.importorskip("torch")
        weight = state["conv1.weight"]
        state["conv1.weight"] = weight.to(memory_format=torch.channels_last)
        state["fc.weight"] = torch.nn.Parameter(state["fc.weight"])
        state["fc.bias"] = state["fc.bias"].bfloat16()
        state["bn1.bias"] = state["bn1.bias"].half()
        target = ResNeXt(CONFIG)
        load_weights(target, self.save(state, tmp_path / "model.pth"))
        np.testing.assert_array_equal(target.conv1.weight.numpy(), weight.numpy())
        np.testing.assert_array_equal(target.fc.bias.numpy(), state["fc.bias"].float().numpy())
        load_weights(target, state)
        np.testing.assert_array_equal(target.bn1.bias.numpy(), state["bn1.bias"].float().numpy())

    def test_code_is_refused(self, model: ResNeXt, tmp_path: Path) -> None:
        path = self.save({"fc.weight": Path("a harmless object")}, tmp_path / "model.pth")
        with pytest.raises(
            ValueError, match=r"model.pth must be an undamaged PyTorch file of tensors only: "
        ):
            load_weights(model, path)

    def test_damage_is_refused(self, model: ResNeXt, tmp_path: Path) -> None:
        path = self.save(self.tensors(model), tmp_path / "model.pth")
        whole = path.read_bytes()
        for content in (b"", whole[:100], whole[: len(whole) // 2], whole[:-10], b"no pickle at all"):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=r"model.pth must be an undamaged PyTorch file"):
                load_weights(model, path)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "another archive")
        with pytest.raises(ValueError, match=r"model.pth must be an undamaged PyTorch file"):
            load_weights(model, path)

    def test_other_contents_are_refused(self, model: ResNeXt, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch")
        with pytest.raises(ValueError, match=r"model.pth must hold a dictionary of tensors, found list"):
            load_weights(model, self.save([torch.zeros(3)], tmp_path / "model.pth"))
        with pytest.raises(ValueError, match=r"'epoch' in .*model.pth must be a tensor, got int"):
            load_weights(model, self.save({"epoch": 3}, tmp_path / "model.pth"))
        sparse = self.tensors(model) | {"fc.bias": torch.zeros(3).to_sparse()}
        with pytest.raises(ValueError, match=r"'fc.bias' in the state dict must be a dense tensor"):
            load_weights(model, sparse)

    def test_without_pytorch_says_what_to_do(
        self, model: ResNeXt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "model.pth").write_bytes(b"x")
        monkeypatch.setitem(__import__("sys").modules, "torch", None)
        with pytest.raises(
            ImportError, match=r"pickled PyTorch file, .* pip install torch, or convert it once"
        ):
            load_weights(model, tmp_path / "model.pth")
