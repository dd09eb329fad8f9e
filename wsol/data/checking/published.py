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


def published_for(option: str, settings: Mapping[str, Any]) -> Published | None:
    """Return the published figures for a `data` option; None for a user's own or generated images.

    Args:
        option: its name.
        settings: its keys; `val`, and `name` of `metadata`, decide which images are in which split.
    """
    val = settings.get("val")
    if option == "cub":
        return _cubv2() if val == "cubv2" else _cub()
    if option == "tiny_imagenet":
        return _tiny_imagenet()
    if option == "imagenet":
        return _imagenet(with_v2=val == "imagenetv2")
    if option in ("metadata", "openimages"):
        name = settings.get("name", "OpenImages")
        if name == "CUB":
            return _cubv2()
        if name == "ILSVRC":
            return _imagenet(with_v2=True)
        if name == "OpenImages":
            return _openimages()
    return None


def _cub() -> Published:
    source = CATALOG["cub"]
    counts = source.counts
    figures = (
        Figure("training images (train and val)", counts["train"], _HELD_OUT),
        Figure("test images", counts["test"], ("test",)),
        Figure("boxes", counts["boxes"], _ALL, of_boxes=True),
    )
    return Published(source.title, counts["classes"], figures)


def _cubv2() -> Published:
    source, v2 = CATALOG["cub"], CATALOG["cubv2"]
    figures = (
        Figure("training images", source.counts["train"], ("train",)),
        Figure("images of CUBV2 (val)", v2.counts["images"], ("val",)),
        Figure("test images", source.counts["test"], ("test",)),
        Figure("boxes of val", v2.counts["boxes"], ("val",), of_boxes=True),
        Figure("boxes of test", source.counts["test"], ("test",), of_boxes=True),  # one an image
    )
    return Published(f"{source.title} with CUBV2", source.counts["classes"], figures)


def _tiny_imagenet() -> Published:
    source = CATALOG["tiny_imagenet"]
    counts = source.counts
    figures = (
        Figure("training images (train and val)", counts["train"], _HELD_OUT),
        Figure("images of the official val (test)", counts["val"], ("test",)),
        Figure("boxes", counts["boxes"], _ALL, of_boxes=True),
    )
    return Published(source.title, counts["classes"], figures)


def _imagenet(with_v2: bool) -> Published:
    source, v2 = CATALOG["imagenet"], CATALOG["imagenetv2"]
    counts = source.counts
    train = Figure("training images", counts["train"], ("train",))
    if not with_v2:
        train = Figure("training images (train and val)", counts["train"], _HELD_OUT)
    figures = [
        train,
        Figure("images of the official val (test)", counts["val"], ("test",), even=True),
        Figure("boxes of test, by the field's list", counts["val_boxes"], ("test",), of_boxes=True),
    ]
    if with_v2:
        boxes = CATALOG["imagenetv2_boxes"].counts["boxes"]
        figures += [
            Figure("images of ImageNetV2 (val)", v2.counts["images"], ("val",), even=True),
            Figure("boxes of val, by the field's list", boxes, ("val",), of_boxes=True),
        ]
    return Published(source.title, counts["classes"], tuple(figures))


def _openimages() -> Published:
    source = CATALOG["openimages30k"]
    figures = tuple(Figure(f"{split} images", source.counts[split], (split,)) for split in _ALL)
    return Published(source.title, source.counts["classes"], figures)
