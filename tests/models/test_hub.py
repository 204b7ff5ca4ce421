"""Weights from the hub, offline: a cache made here, and the ways in which the hub can fail to give a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import pytest

from lucid.models import (
    LicenseWarning,
    ResNeXt,
    ResNeXtConfig,
    load_weights,
    preprocessing,
    save_weights,
)
from lucid.models.sources import resolve

CONFIG = ResNeXtConfig((1, 1, 1, 1), 4, 16, num_classes=3, channels=(8, 8, 8, 8))
REPOSITORY, COMMIT = "timm/resnext50_32x4d.a1_in1k", "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def model(rng: np.random.Generator) -> ResNeXt:
    model = ResNeXt(CONFIG)
    networks.randomize(model, rng)
    return model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, with the network forbidden."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra [hub] is not installed")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put(cache: Path, model: ResNeXt, repository: str, file: str = "model.safetensors") -> Path:
    """Lays a weight file into the cache as a download does."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    path = folder / "snapshots" / COMMIT / file
    path.parent.mkdir(parents=True)
    save_weights(model, path)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return path


@pytest.mark.parametrize(
    "source",
    [f"hub:{REPOSITORY}", f"hub:{REPOSITORY}@main", f"hub:{REPOSITORY}@{COMMIT}", "resnext50_32x4d.a1_in1k"],
)
def test_loads_from_the_cache(cache: Path, model: ResNeXt, source: str) -> None:
    put(cache, model, REPOSITORY)
    target = ResNeXt(CONFIG)
    metadata = load_weights(target, source)
    np.testing.assert_array_equal(target.fc.weight.numpy(), model.fc.weight.numpy())
    assert metadata.license == "Apache-2.0"
    assert metadata.preprocessing == preprocessing("resnext50_32x4d.a1_in1k")


def test_loads_another_file_of_a_repository(cache: Path, model: ResNeXt) -> None:
    put(cache, model, "someone/weights", "resnext/tiny.safetensors")
    target = ResNeXt(CONFIG)
    load_weights(target, "hub:someone/weights/resnext/tiny.safetensors")
    np.testing.assert_array_equal(target.fc.weight.numpy(), model.fc.weight.numpy())
    load_weights(target, "hub:someone/weights@main/resnext/tiny.safetensors")


def test_a_file_named_like_a_tag_wins(
    cache: Path, model: ResNeXt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache, model, REPOSITORY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnext50_32x4d.a1_in1k").write_bytes(b"")
    with pytest.raises(ValueError, match="the file must end in"):
        load_weights(model, "resnext50_32x4d.a1_in1k")


def test_an_absent_file_says_how_to_get_it(cache: Path, model: ResNeXt) -> None:
    message = (
        r"^load_weights: hub:timm/resnest50d.in1k is not in the cache .* and cannot be downloaded "
        r"\(HF_HUB_OFFLINE is set\); download "
        r"https://huggingface.co/timm/resnest50d.in1k/resolve/main/model.safetensors "
        r"yourself and pass its path$"
    )
    for source in ("hub:timm/resnest50d.in1k", "resnest50d.in1k", "resnest_50.in1k"):
        with pytest.raises(FileNotFoundError, match=message):
            load_weights(model, source)


def test_the_environment_forbids_the_network(tmp_path: Path) -> None:
    """HF_HUB_OFFLINE as users set it, in a process of its own."""
    pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")
    load = "lucid.models.create_model('resnest14', weights='hub:timm/resnest14d.gluon_in1k')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", f"import lucid; {load}"],
        cwd=tmp_path,  # not the source tree, which has no compiled module
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 1
    assert (
        "FileNotFoundError: create_model: hub:timm/resnest14d.gluon_in1k is not in the cache" in result.stderr
    )
    assert "(HF_HUB_OFFLINE is set)" in result.stderr


def test_a_failing_network_says_so(model: ResNeXt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")

    def fail(*args: object, **options: object) -> str:
        raise TimeoutError("the line is dead\nand more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(
        FileNotFoundError, match=r"cannot be downloaded \(the line is dead\); download https://"
    ):
        load_weights(model, "hub:timm/resnest50d.in1k")


@pytest.mark.parametrize(
    "address", ["hub:", "hub:timm", "hub:timm/", "hub:/resnest50d", "hub:timm/a b", "hub:--/--"]
)
def test_malformed_addresses(cache: Path, model: ResNeXt, address: str) -> None:
    with pytest.raises(ValueError, match=r"^load_weights: a hub address must be hub:OWNER/NAME, got "):
        load_weights(model, address)


def test_without_the_extra_says_what_to_install(model: ResNeXt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = (
        r"hub:timm/resnest50d.in1k needs huggingface_hub: pip install 'lucid-kernels\[hub\]', or download "
        r"https://huggingface.co/timm/resnest50d.in1k/resolve/main/model.safetensors yourself"
    )
    with pytest.raises(ImportError, match=message):
        load_weights(model, "hub:timm/resnest50d.in1k")


def test_weights_on_no_hub_name_their_origin(model: ResNeXt) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"is on no hub; download https://github.com/zhanghang1989/.*2s1x64d"
    ):
        load_weights(model, "resnest50_fast_2s1x64d.in1k")


def test_a_non_commercial_licence_is_shown_before_the_download(
    model: ResNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> Path:
        raise FileNotFoundError

    monkeypatch.setattr("lucid.models.hub.Address.download", fail)
    with (
        pytest.warns(LicenseWarning, match="no commercial use, by the licence CC-BY-NC-4.0"),
        pytest.raises(FileNotFoundError),
    ):
        load_weights(model, "resnext101_32x48d.fb_wsl_ig1b_ft_in1k")


def test_knows_a_cached_file_by_its_folder(cache: Path, model: ResNeXt) -> None:
    path = put(cache, model, REPOSITORY)
    tag = resolve("read_metadata", path).tag
    assert tag is not None
    assert tag.tag == "a1_in1k"
