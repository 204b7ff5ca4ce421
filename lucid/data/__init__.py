"""Images and labels: the input of a classifier, and the names of its classes."""

from lucid.data.channels import convert_channels
from lucid.data.folder import IMAGE_EXTENSIONS, find_images
from lucid.data.image_file import ImageSizeError, load_image
from lucid.data.labels import class_labels, imagenet_labels, read_labels
from lucid.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    center_crop,
    normalize,
    resize_shorter_side,
    to_array,
)

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMAGE_EXTENSIONS",
    "ImageSizeError",
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
