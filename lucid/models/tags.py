"""The published weights: for each tag its licence, where it lies, and how images must be prepared for it.

Sizes are those of evaluation: where a tag was trained small and is evaluated large (timm's recipes,
torchvision's second weights), the large size stands here, because the published accuracy was measured with
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import PurePath

from lucid.data.transforms import Preprocessing

__all__ = ["WeightTag", "default_preprocessing", "find_tag", "identify", "tags_of"]

APACHE, BSD, NON_COMMERCIAL = "Apache-2.0", "BSD-3-Clause", "CC-BY-NC-4.0"

_BILINEAR_224 = Preprocessing(224, 256, "bilinear")
_BICUBIC_224 = Preprocessing(224, 256, "bicubic")
# torchvision's second recipe, and its only weights of 64x4d. timm lists the latter with 256; torchvision made
# them.
_TORCHVISION_2 = Preprocessing(224, 232, "bilinear")
_TIMM_288 = Preprocessing(288, 288, "bicubic")
_TIMM_288_CROPPED = Preprocessing(288, 303, "bicubic")
_TIMM_A3 = Preprocessing(224, 235, "bicubic")

_TORCHVISION = "https://download.pytorch.org/models/"
_TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download/"
_GLUON = "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1/"
_SEMI = "https://dl.fbaipublicfiles.com/semiweaksupervision/model_files/"
_RESNEST = "https://github.com/zhanghang1989/ResNeSt/releases/download/weights_step1/"


@dataclass(frozen=True)
class WeightTag:
    """One published weight file.

    Attributes:
        model: The preset that it is for.
        tag: What timm writes after the dot; ``resnest50d.in1k`` is tag ``in1k``.
        license: SPDX identifier.
        preprocessing: What an image must go through.
        hub: Repository on the Hugging Face hub, or None where there is none.
        origin: Address of the authors' own file, or None where none is known.
    """

    model: str
    tag: str
    license: str
    preprocessing: Preprocessing
    hub: str | None
    origin: str | None


def _timm(
    model: str, tag: str, license: str, preprocessing: Preprocessing, origin: str | None, spelling: str = ""
) -> WeightTag:
    return WeightTag(model, tag, license, preprocessing, f"timm/{spelling or model}.{tag}", origin)


def _facebook(width: str, weak: str, semi_weak: str, semi: str) -> list[WeightTag]:
    """Facebook's weights trained beyond ImageNet for one network, by the hashes in their file names."""
    depth, division = width.split("_")
    model, file = f"resnext{width}", f"resnext{depth}_{division.rstrip('d')}"
    kinds = [
        ("fb_swsl_ig1b_ft_in1k", semi_weak, f"{_SEMI}semi_weakly_supervised_{file}-{semi_weak}.pth"),
        ("fb_ssl_yfcc100m_ft_in1k", semi, f"{_SEMI}semi_supervised_{file}-{semi}.pth"),
        ("fb_wsl_ig1b_ft_in1k", weak, f"{_TORCHVISION}ig_{file}-{weak}.pth"),
    ]
    return [_timm(model, tag, NON_COMMERCIAL, _BILINEAR_224, origin) for tag, known, origin in kinds if known]


def _fast(division: str, file_hash: str, timm_name: str | None = None) -> WeightTag:
    """A network of the ResNeSt paper's ablation; timm carries two of the seven."""
    model = f"resnest50_fast_{division}"
    hub = f"timm/{timm_name}.in1k" if timm_name else None
    return WeightTag(model, "in1k", APACHE, _BICUBIC_224, hub, f"{_RESNEST}{model}-{file_hash}.pth")


# The first tag of a model is its default.
TAGS: tuple[WeightTag, ...] = (
    _timm("resnext50_32x4d", "tv_in1k", BSD, _BILINEAR_224, f"{_TORCHVISION}resnext50_32x4d-7cdf4587.pth"),
    _timm("resnext50_32x4d", "tv2_in1k", BSD, _TORCHVISION_2, f"{_TORCHVISION}resnext50_32x4d-1a0047aa.pth"),
    _timm(
        "resnext50_32x4d", "a1h_in1k", APACHE, _TIMM_288,
        f"{_TIMM}v0.1-rsb-weights/resnext50_32x4d_a1h-0146ab0a.pth",
    ),
    _timm(
        "resnext50_32x4d", "a1_in1k", APACHE, _TIMM_288,
        f"{_TIMM}v0.1-rsb-weights/resnext50_32x4d_a1_0-b5a91a1d.pth",
    ),
    _timm(
        "resnext50_32x4d", "a2_in1k", APACHE, _TIMM_288,
        f"{_TIMM}v0.1-rsb-weights/resnext50_32x4d_a2_0-efc76add.pth",
    ),
    _timm(
        "resnext50_32x4d", "a3_in1k", APACHE, _TIMM_A3,
        f"{_TIMM}v0.1-rsb-weights/resnext50_32x4d_a3_0-3e450271.pth",
    ),
    _timm(
        "resnext50_32x4d", "ra_in1k", APACHE, _TIMM_288_CROPPED,
        f"{_TIMM}v0.1-weights/resnext50_32x4d_ra-d733960d.pth",
    ),
    _timm(
        "resnext50_32x4d", "gluon_in1k", APACHE, _BICUBIC_224,
        f"{_GLUON}gluon_resnext50_32x4d-e6a097c1.pth",
    ),
    *_facebook("50_32x4d", weak="", semi_weak="72679e44", semi="ddb3e555"),
    _timm(
        "resnext50d_32x4d", "bt_in1k", APACHE, _TIMM_288_CROPPED,
        f"{_TIMM}v0.1-weights/resnext50d_32x4d-103e99f8.pth",
    ),
    _timm(
        "resnext101_32x4d", "gluon_in1k", APACHE, _BICUBIC_224,
        f"{_GLUON}gluon_resnext101_32x4d-b253c8c4.pth",
    ),
    *_facebook("101_32x4d", weak="", semi_weak="3f87e46b", semi="dc43570a"),
    _timm("resnext101_32x8d", "tv_in1k", BSD, _BILINEAR_224, f"{_TORCHVISION}resnext101_32x8d-8ba56ff5.pth"),
    _timm(
        "resnext101_32x8d", "tv2_in1k", BSD, _TORCHVISION_2,
        f"{_TORCHVISION}resnext101_32x8d-110c445d.pth",
    ),
    *_facebook("101_32x8d", weak="c38310e5", semi_weak="b4712904", semi="2cfe2f8b"),
    *_facebook("101_32x16d", weak="c6f796b0", semi_weak="f3559a9c", semi="15fffa57"),
    *_facebook("101_32x32d", weak="e4b90b00", semi_weak="", semi=""),
    *_facebook("101_32x48d", weak="3e41cc8a", semi_weak="", semi=""),
    _timm("resnext101_64x4d", "tv_in1k", BSD, _TORCHVISION_2, f"{_TORCHVISION}resnext101_64x4d-173b62eb.pth"),
    _timm(
        "resnext101_64x4d", "c1_in1k", APACHE, _TIMM_288,
        f"{_TIMM}v0.1-tpu-weights/resnext101_64x4d_c-0d0e0cc0.pth",
    ),
    _timm(
        "resnext101_64x4d", "gluon_in1k", APACHE, _BICUBIC_224,
        f"{_GLUON}gluon_resnext101_64x4d-f9a8e184.pth",
    ),
    _timm("resnest14", "gluon_in1k", APACHE, _BILINEAR_224, None, "resnest14d"),
    _timm("resnest26", "gluon_in1k", APACHE, _BILINEAR_224, None, "resnest26d"),
    _timm("resnest50", "in1k", APACHE, _BILINEAR_224, f"{_RESNEST}resnest50-528c19ca.pth", "resnest50d"),
    _timm(
        "resnest101", "in1k", APACHE, Preprocessing(256, 292, "bilinear"),
        f"{_RESNEST}resnest101-22405ba7.pth", "resnest101e",
    ),
    _timm(
        "resnest200", "in1k", APACHE, Preprocessing(320, 352, "bicubic"),
        f"{_RESNEST}resnest200-75117900.pth", "resnest200e",
    ),
    _timm(
        "resnest269", "in1k", APACHE, Preprocessing(416, 448, "bicubic"),
        f"{_RESNEST}resnest269-0cc87c48.pth", "resnest269e",
    ),
    _fast("1s1x64d", "d8fbf808"),
    _fast("2s1x64d", "44938639"),
    _fast("4s1x64d", "f74f3fc3"),
    _fast("1s2x40d", "32830b84"),
    _fast("2s2x40d", "9d126481"),
    _fast("4s2x40d", "41d14ed0", "resnest50d_4s2x40d"),
    _fast("1s4x24d", "d4a4f76f", "resnest50d_1s4x24d"),
)  # fmt: skip


def tags_of(model: str) -> list[WeightTag]:
    """The tags of a preset, its default first."""
    return [entry for entry in TAGS if entry.model == model]


def find_tag(model: str, tag: str) -> WeightTag | None:
    """The tag of a preset, or None."""
    return next((entry for entry in tags_of(model) if entry.tag == tag), None)


def default_preprocessing(model: str) -> Preprocessing:
    """That of the preset's default tag; 224 from 256 pixels, bilinear, where no weights are published."""
    return next((entry.preprocessing for entry in tags_of(model)), _BILINEAR_224)


def identify(source: str | PathLike[str]) -> WeightTag | None:
    """The published file that a hub address or a path names, or None.

    A path is known by the authors' file name (``resnext50_32x4d-7cdf4587.pth``), by the tag
    (``resnext50_32x4d.tv_in1k.safetensors``), or by a folder of that name, as the hub's cache has it.
    """
    text = fspath(source)
    if text.startswith("hub:"):
        repository = "/".join(text[len("hub:") :].partition("@")[0].split("/")[:2])
        return next((entry for entry in TAGS if entry.hub == repository), None)
    path = PurePath(text)
    folders = [part.removeprefix("models--").replace("--", "/") for part in path.parts[:-1]]
    for entry in TAGS:
        if entry.origin is not None and path.name == entry.origin.rpartition("/")[2]:
            return entry
        if entry.hub is not None and (
            entry.hub in folders or path.name.startswith(f"{entry.hub.partition('/')[2]}.")
        ):
            return entry
    return None
