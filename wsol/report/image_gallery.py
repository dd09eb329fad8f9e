"""Build the gallery of the report's page: choose its images and orders, and draw each setting's maps."""

import base64
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from wsol.comparison.diagnosis import error_types, object_sizes
from wsol.data.ground_truth import GroundTruth, truth_of
from wsol.geometry import Size, box_area
from wsol.maps.stored_maps import StoredMaps
from wsol.report.content import Gallery, Shown, View
from wsol.scoring.protocol import Protocol
from wsol.scoring.record import LocalizationRecord
from wsol.scoring.score_map import to_score_maps

log = logging.getLogger(__name__)

DISAGREEMENT, BEST, WORST, RANDOM = "most disagreement", "best", "worst", "random"
_HIT = 0.5  # IoU
_SEED = 0  # of the random order
_MAP_SIDE, _PHOTO_SIDE = 48, 160  # pixels of the longer side, at most
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for a damaged file


@dataclass(frozen=True)
class Setting:
    """One seed of one setting on a split."""

    record: LocalizationRecord  # at its operating point
    maps: StoredMaps | None  # None if no maps are stored
    protocol: Protocol


def build_gallery(
    settings: Mapping[str, Setting],
    predictions: pd.DataFrame,
    class_names: Sequence[str],
    photos: Callable[[int], Image.Image] | None,
    limit: int = 200,
    caption: str = "",
) -> Gallery:
    """Put settings side by side on the same images.

    Args:
        settings: name -> setting, all with the same images in the same order.
        predictions: predictions of one of the runs: a row per image with its class and true boxes.
        class_names: names by class id; a class beyond them is named by its number.
        photos: index of an image -> the prepared image, read only if it is shown; None if the images are not available.
            An image that cannot be read is left out with a warning in the log.
        limit: number of images to show, at least 1. If there are more, every order gives its first images in turn.
        caption: sentences before those on how the images were chosen.

    Raises:
        ValueError: if there is no setting; if the limit is below 1; if the records or maps of a setting have other
            images than the predictions; if a record is at another threshold than its boxes were saved at; or if a map
            has NaN or infinity.
    """
    if not settings or limit < 1:
        raise ValueError(f"A gallery needs a setting and an image, got {len(settings)} settings and limit {limit}.")
    ground_truth = truth_of(predictions)
    others = [name for name, setting in settings.items() if not _has_images(setting, ground_truth.image_ids)]
    if others:
        raise ValueError(
            f"The records or maps of {', '.join(others)} are of other images than the predictions, or in another order."
            " Delete their run folders and run them again."
        )
    size = ground_truth.size(0)
    orders = orders_of(np.stack([_iou(setting.record) for setting in settings.values()], axis=1))
    kept = _first_of_each(list(orders.values()), limit)
    place = {index: position for position, index in enumerate(kept)}
    sizes = object_sizes(largest_true_boxes(ground_truth), size)
    views = [_views(setting, kept, size) for setting in settings.values()]
    images = [
        Shown(
            image_id=str(ground_truth.image_ids[index]),
            class_name=class_name(int(ground_truth.class_ids[index]), class_names),
            size=str(sizes[index]),
            aspect=size[1] / size[0],
            true_boxes=[_fractions(box, size) for box in ground_truth.boxes[index]],
            views=of_image,
            photo=photo,
        )
        for index, photo, *of_image in zip(kept, _photos(photos, kept, ground_truth.image_ids), *views, strict=True)
    ]
    return Gallery(
        settings=list(settings),
        images=images,
        orders={name: [place[index] for index in order.tolist() if index in place] for name, order in orders.items()},
        caption=f"{caption} {_chosen(len(kept), len(ground_truth), orders)}".strip(),
    )


def orders_of(iou: NDArray[np.floating]) -> dict[str, NDArray[np.int64]]:
    """Sort images in each order of the gallery; equal images keep the order in which they are stored.

    Args:
        iou: (N, settings) at the operating points.

    Returns:
        Name -> (N,) indices; the first order is the default. `most disagreement`, of the first two settings: images
        that one of them hits at IoU 0.5 and the other misses, then the others, both by the difference of their IoU;
        with one setting this order is absent. `best`, `worst`: by the mean over all settings. `random`: by a fixed
        seed.
    """
    iou = iou.astype(np.float64)
    mean, spread = iou.mean(axis=1), np.ptp(iou[:, :2], axis=1)
    torn = (iou[:, :2] >= _HIT).sum(axis=1) == 1
    orders = {DISAGREEMENT: np.lexsort((-spread, ~torn))} if iou.shape[1] > 1 else {}
    orders[BEST] = np.argsort(-mean, kind="stable")
    orders[WORST] = np.argsort(mean, kind="stable")
    orders[RANDOM] = np.random.default_rng(_SEED).permutation(len(iou))
    return orders


def _first_of_each(orders: Sequence[NDArray[np.int64]], limit: int) -> list[int]:
    """Take the first image of every order, then the second of every order, until the limit is reached."""
    kept: dict[int, None] = {}
    for of_rank in zip(*(order.tolist() for order in orders), strict=True):
        for index in of_rank:
            if len(kept) < limit:
                kept[index] = None
    return list(kept)


def _chosen(kept: int, count: int, orders: Mapping[str, object]) -> str:
    """Return the sentences of the caption on how the images were chosen."""
    if kept == count:
        shown = f"All {count:,} test images are shown."
    else:
        shown = (
            f"{kept:,} of {count:,} test images are shown: the first of each order ({', '.join(orders)}), followed by "
            "those of the other orders."
        )
    disagreement = (
        "Disagreement: first images that one of the first two settings hits (IoU 0.5) and the other misses, then by "
        "the difference of IoU. "
        if DISAGREEMENT in orders
        else ""
    )
    return (
        f"{shown} {disagreement}Best and worst: by mean IoU. Random: by seed {_SEED}. Score maps are stored small "
        "and enlarged by the browser, for looking at and not for measuring."
    )


def _has_images(setting: Setting, image_ids: NDArray[np.str_]) -> bool:
    saved = [setting.record.image_ids, *([] if setting.maps is None else [setting.maps.image_ids])]
    return all(np.array_equal(ids, image_ids) for ids in saved)


def _iou(record: LocalizationRecord) -> NDArray[np.float32]:
    return record.best_iou[:, record.operating_point]


def largest_true_boxes(ground_truth: GroundTruth) -> NDArray[np.float32]:
    """Return the largest true box of each image, (N, 4), which does not depend on any prediction."""
    return np.stack([boxes[np.argmax(box_area(boxes))] for boxes in ground_truth.boxes])


def _views(setting: Setting, kept: Sequence[int], size: Size) -> list[View]:
    record, maps, iou = setting.record, setting.maps, _iou(setting.record)
    errors = error_types(record, _HIT)
    on_image = replace(setting.protocol, name="drawn", grid=None)
    shrink = min(_MAP_SIDE / max(size), 1.0)
    small = (max(round(size[0] * shrink), 1), max(round(size[1] * shrink), 1))
    views = []
    for index in kept:
        score_map = ""
        if maps is not None:
            values = _averaged(maps.read(index), small)
            (drawn,) = to_score_maps(values[None], small, on_image, [str(record.image_ids[index])])
            score_map = _uri(Image.fromarray(np.round(255 * drawn).astype(np.uint8)), "PNG", optimize=True)
        box, rank = record.boxes[index], int(record.class_rank[index])
        views.append(
            View(
                box=_fractions(box, size) if box_area(box[None])[0] > 0 else None,
                iou=float(iou[index]),
                top1=None if rank < 0 else rank == 0,
                error=str(errors[index]),
                score_map=score_map,
            )
        )
    return views


def _averaged(values: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Average a map down to at most this size; sampling a map with a value per pixel would miss most of its peaks."""
    height, width = (min(cells, side) for cells, side in zip(values.shape, size, strict=True))
    # Averaging a constant map leaves rounding noise, which the normalization would scale to [0, 1].
    if (height, width) == values.shape or values.min() == values.max():
        return values
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BOX))


def _fractions(box: NDArray[np.float32], size: Size) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return x0 / size[1], y0 / size[0], x1 / size[1], y1 / size[0]


def class_name(class_id: int, class_names: Sequence[str]) -> str:
    """Return the name of a class, or its number if it has no name."""
    return class_names[class_id] if 0 <= class_id < len(class_names) else f"class {class_id}"


def _photos(read: Callable[[int], Image.Image] | None, kept: Sequence[int], image_ids: NDArray[np.str_]) -> list[str]:
    """Return data URIs of small JPEGs; an empty text for an image that is not available."""
    if read is None:
        return [""] * len(kept)
    photos, unreadable = [], []
    for index in kept:
        try:
            photo = read(index).convert("RGB")
        except _UNREADABLE as error:
            unreadable.append(f"{str(image_ids[index])!r} ({error})")
            photos.append("")
            continue
        photo.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
        photos.append(_uri(photo, "JPEG", quality=80))
    if unreadable:
        log.warning(
            "%d of %d photographs of the gallery cannot be read and are left out, the first being %s.",
            len(unreadable),
            len(kept),
            unreadable[0],
        )
    return photos


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    written = io.BytesIO()
    picture.save(written, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(written.getvalue()).decode('ascii')}"
