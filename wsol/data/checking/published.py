"""Published numbers of images and boxes, for the splits that the readers make."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsol.data.download.catalog import CATALOG

_HELD_OUT = ("train", "val")
_ALL = ("train", "val", "test")


@dataclass(frozen=True)
class Figure:
    """A published number.

    Attributes:
        what: description of the images or boxes.
        count: the number.
        splits: of the reader, that contain these images together.
        of_boxes: count boxes, not images.
        even: every class has the same number, so that the number for some classes is known too.
    """

    what: str
    count: int
    splits: tuple[str, ...]
    of_boxes: bool = False
    even: bool = False


@dataclass(frozen=True)
class Published:
    """Published numbers of one data set.

    Attributes:
        title: its published name.
        num_classes: of the whole data set.
        figures: numbers of the whole data set.
    """

    title: str
    num_classes: int
    figures: tuple[Figure, ...]


_CUB, _CUBV2, _TINY = CATALOG["cub"].counts, CATALOG["cubv2"].counts, CATALOG["tiny_imagenet"].counts
_IMAGENET, _V2 = CATALOG["imagenet"].counts, CATALOG["imagenetv2_boxes"].counts
_OF_VAL = (
    Figure("images of the official val (test)", _IMAGENET["val"], ("test",), even=True),
    Figure("boxes of test, by the field's list", _IMAGENET["val_boxes"], ("test",), of_boxes=True),
)

# Name in the catalog, with what is val where there is a choice -> the figures.
_FIGURES: dict[str, tuple[Figure, ...]] = {
    "cub": (
        Figure("training images (train and val)", _CUB["train"], _HELD_OUT),
        Figure("test images", _CUB["test"], ("test",)),
        Figure("boxes", _CUB["boxes"], _ALL, of_boxes=True),
    ),
    "cub with CUBV2": (
        Figure("training images", _CUB["train"], ("train",)),
        Figure("images of CUBV2 (val)", _CUBV2["images"], ("val",)),
        Figure("test images", _CUB["test"], ("test",)),
        Figure("boxes of val", _CUBV2["boxes"], ("val",), of_boxes=True),
        Figure("boxes of test", _CUB["test"], ("test",), of_boxes=True),  # one an image
    ),
    "tiny_imagenet": (
        Figure("training images (train and val)", _TINY["train"], _HELD_OUT),
        Figure("images of the official val (test)", _TINY["val"], ("test",)),
        Figure("boxes", _TINY["boxes"], _ALL, of_boxes=True),
    ),
    "imagenet": (Figure("training images (train and val)", _IMAGENET["train"], _HELD_OUT), *_OF_VAL),
    "imagenet with ImageNetV2": (
        Figure("training images", _IMAGENET["train"], ("train",)),
        *_OF_VAL,
        Figure("images of ImageNetV2 (val)", _V2["images"], ("val",), even=True),
        Figure("boxes of val, by the field's list", _V2["boxes"], ("val",), of_boxes=True),
    ),
    "openimages30k": tuple(
        Figure(f"{split} images", CATALOG["openimages30k"].counts[split], (split,)) for split in _ALL
    ),
}


def published_for(option: str, settings: Mapping[str, Any]) -> Published | None:
    """Return the published figures for a `data` option; None for a user's own or generated images.

    Args:
        option: its name.
        settings: its keys; `val`, and `name` of `metadata`, decide which images are in which split.
    """
    if option in ("metadata", "openimages"):
        lists = {"CUB": "cub with CUBV2", "ILSVRC": "imagenet with ImageNetV2", "OpenImages": "openimages30k"}
        key = lists.get(settings.get("name", "OpenImages"), "")
    else:
        with_v2 = {("cub", "cubv2"): " with CUBV2", ("imagenet", "imagenetv2"): " with ImageNetV2"}
        key = option + with_v2.get((option, str(settings.get("val"))), "")
    if key not in _FIGURES:
        return None
    name, _, v2 = key.partition(" with ")
    source = CATALOG[name]
    title = f"{source.title} with CUBV2" if v2 == "CUBV2" else source.title
    return Published(title, source.counts["classes"], _FIGURES[key])
