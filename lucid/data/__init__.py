"""Images and labels: what stands before and after a classifier."""

from lucid.data.folder import IMAGE_EXTENSIONS, find_images
from lucid.data.labels import class_labels, imagenet_labels, read_labels
from lucid.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    center_crop,
    convert_channels,
    load_image,
    normalize,
    resize_shorter_side,
    to_array,
)

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMAGE_EXTENSIONS",
    "Preprocessing",
    "center_crop",
    "class_labels",
    "convert_channels",
    "find_images",
    "imagenet_labels",
    "load_image",
    "normalize",
    "read_labels",
    "resize_shorter_side",
    "to_array",
]
