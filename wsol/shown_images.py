"""The gallery of the report's page: which images it shows, in which orders, and what each setting makes of them."""

import base64
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from wsol.error_types import error_types
from wsol.geometry import Size
from wsol.object_groups import object_sizes
from wsol.page import Gallery, Shown, View
from wsol.protocol import Protocol
from wsol.record import LocalizationRecord
from wsol.runs import truth_of
from wsol.score_map import to_score_maps
from wsol.stored_maps import StoredMaps
from wsol.truth import Truth

log = logging.getLogger(__name__)

DISAGREEMENT, BEST, WORST, RANDOM = "most disagreement", "best", "worst", "random"
_HIT = 0.5  # IoU
_SEED = 0  # of the random order
_MAP_SIDE, _PHOTO_SIDE = 48, 160  # pixels of the longer side


@dataclass(frozen=True)
class Setting:
    """What one setting makes of a split, with one seed."""

    record: LocalizationRecord  # read at its operating point
    maps: StoredMaps | None  # None: none are stored
    protocol: Protocol


def build_gallery(
    settings: Mapping[str, Setting],
    predictions: pd.DataFrame,
    class_names: Sequence[str] = (),
    photos: Callable[[int], Image.Image] | None = None,
    limit: int = 200,
) -> Gallery:
    """Settings side by side on the same images.

    Args:
        settings: by name, all of the same images in the same order.
        predictions: of one of the runs: a row per image with its class and true boxes.
        class_names: by class id; where it is too short, classes are numbers.
        photos: index of an image -> the prepared image; None: they are not at hand.
        limit: images to show, at least 1. Of more, every order gives an equal share of its first ones.

    Raises:
        ValueError: naming the setting whose images are others.
    """
    truth = truth_of(predictions)
    for name, setting in settings.items():
        if not np.array_equal(setting.record.image_ids, truth.image_ids):
            raise ValueError(f"The record of {name} is of other images than the predictions, or in another order.")
    iou = np.stack([one.record.best_iou[:, one.record.operating_point] for one in settings.values()], axis=1)
    orders = orders_of(iou)
    kept = _kept(list(orders.values()), limit)
    place = {int(index): position for position, index in enumerate(kept)}
    sizes = object_sizes(_largest(truth), truth.size(0))
    views = [_views(setting, kept, truth.size(0)) for setting in settings.values()]
    pictures = _Photos(photos)
    images = [
        Shown(
            image_id=str(truth.image_ids[index]),
            class_name=_class_name(int(truth.class_ids[index]), class_names),
            size=str(sizes[index]),
            aspect=truth.size(0)[1] / truth.size(0)[0],
            true_boxes=[_fractions(box, truth.size(0)) for box in truth.boxes[index]],
            views=[of_setting[position] for of_setting in views],
            photo=pictures.uri(int(index)),
        )
        for position, index in enumerate(kept)
    ]
    shown = f"All {len(truth)} test images" if len(kept) == len(truth) else _chosen(len(kept), len(truth), orders)
    return Gallery(
        settings=list(settings),
        images=images,
        orders={name: [place[int(index)] for index in order if int(index) in place] for name, order in orders.items()},
        caption=f"{shown}; one seed.{_of_disagreement(list(settings))} Boxes at the τ chosen on val. Score maps are "
        f"enlarged by the browser, for looking at, not for measuring. Random: by seed {_SEED}.",
    )


def _of_disagreement(settings: Sequence[str]) -> str:
    return f" Disagreement: of {settings[0]} and {settings[1]}." if len(settings) > 1 else ""


def _chosen(kept: int, count: int, orders: Mapping[str, NDArray[np.int64]]) -> str:
    return f"{kept} of {count} test images: the first of each order ({', '.join(orders)})"


def orders_of(iou: NDArray[np.floating]) -> dict[str, NDArray[np.int64]]:
    """The orders to look at images in, the first being the one that is shown at first; of equals the earlier first.

    Args:
        iou: (N, settings) at the operating points.

    Returns:
        (N,) indices each. `most disagreement`: of the first two settings; images that one of them hits at IoU 0.5 and
        the other misses come first, then by the difference of their IoU; it is missing where there is one setting.
        `best` and `worst`: by the mean over all settings.
    """
    mean = iou.mean(axis=1)
    spread = np.ptp(iou[:, :2], axis=1)
    torn = (iou[:, :2] >= _HIT).sum(axis=1) == 1
    count = np.arange(len(iou))
    orders = {DISAGREEMENT: np.lexsort((count, -spread, ~torn))} if iou.shape[1] > 1 else {}
    orders[BEST] = np.lexsort((count, -mean))
    orders[WORST] = np.lexsort((count, mean))
    orders[RANDOM] = np.random.default_rng(_SEED).permutation(len(iou))
    return orders


def _kept(orders: Sequence[NDArray[np.int64]], limit: int) -> list[int]:
    """The first of every order in turn, until there are enough."""
    kept: dict[int, None] = {}
    for rank in range(len(orders[0])):
        for order in orders:
            if len(kept) == limit:
                return list(kept)
            kept[int(order[rank])] = None
    return list(kept)


def _largest(truth: Truth) -> NDArray[np.float32]:
    """(N, 4) the largest true box of each image: the size of its object, whatever was predicted."""
    return np.stack(
        [boxes[np.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))] for boxes in truth.boxes]
    )


def _views(setting: Setting, kept: Sequence[int], size: Size) -> list[View]:
    record = setting.record
    errors = error_types(record, _HIT)
    maps = setting.maps
    if maps is not None and not np.array_equal(maps.image_ids, record.image_ids):
        maps = None
    small = replace(setting.protocol, name="drawn", grid=None)
    shrink = min(_MAP_SIDE / max(size), 1.0)
    to = (max(round(size[0] * shrink), 1), max(round(size[1] * shrink), 1))
    return [
        View(
            box=_fractions(record.boxes[index], size) if _is_box(record.boxes[index]) else None,
            iou=float(record.best_iou[index, record.operating_point]),
            top1=None if record.class_rank[index] < 0 else bool(record.class_rank[index] == 0),
            error=str(errors[index]),
            score_map="" if maps is None else _map_uri(to_score_maps(maps.read(index)[None], to, small)[0]),
        )
        for index in kept
    ]


def _is_box(box: NDArray[np.float32]) -> bool:
    return bool(box[2] > box[0] and box[3] > box[1])


def _fractions(box: NDArray[np.float32], size: Size) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return x0 / size[1], y0 / size[0], x1 / size[1], y1 / size[0]


def _class_name(class_id: int, class_names: Sequence[str]) -> str:
    return class_names[class_id] if 0 <= class_id < len(class_names) else f"class {class_id}"


def _map_uri(score_map: NDArray[np.float64]) -> str:
    return _uri(Image.fromarray(np.round(255 * score_map).astype(np.uint8)), "PNG", optimize=True)


def _uri(picture: Image.Image, kind: str, **options: object) -> str:
    written = io.BytesIO()
    picture.save(written, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(written.getvalue()).decode()}"


class _Photos:
    """Small JPEGs of images; one that cannot be read is left out, which is said once."""

    def __init__(self, read: Callable[[int], Image.Image] | None) -> None:
        self._read, self._failed = read, False

    def uri(self, index: int) -> str:
        """Empty where there is none."""
        if self._read is None:
            return ""
        try:
            photo = self._read(index).convert("RGB")
        except Exception as error:  # whatever is wrong with a file of somebody's data set, the page can do without
            if not self._failed:
                log.warning("a photograph is left out of the gallery: %s", error)
            self._failed = True
            return ""
        photo.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
        return _uri(photo, "JPEG", quality=80)
