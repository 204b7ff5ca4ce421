"""Images and labels: the input of a classifier, the names of its classes, and what it is trained on."""

from lucid.data.augmentation import Augmentation, rand_augment, random_resized_crop
from lucid.data.channels import convert_channels
from lucid.data.folder import IMAGE_EXTENSIONS, find_images
from lucid.data.image_file import ImageSizeError, load_image
from lucid.data.image_folder import ImageFolder
from lucid.data.labels import class_labels, imagenet_labels, read_labels
from lucid.data.loader import Loader
from lucid.data.mixing import cutmix, mixup, one_hot
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
    "Augmentation",
    "ImageFolder",
    "ImageSizeError",
    "Loader",
    "Preprocessing",
    "center_crop",
    "class_labels",
    "convert_channels",
    "cutmix",
    "find_images",
    "imagenet_labels",
    "load_image",
    "mixup",
    "normalize",
    "one_hot",
    "rand_augment",
    "random_resized_crop",
    "read_labels",
    "resize_shorter_side",
    "to_array",
]
