"""Reader of generated birds: a world with exact ground truth that needs no download."""

import logging
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.atomic_files import whole_file
from wsol.data.birds.drawing import draw
from wsol.data.birds.world import PARTS, BirdSettings, species_colors
from wsol.data.index import Entry
from wsol.data.preparation import Indices, Preparation, prepare, spread
from wsol.data.sample import Sample
from wsol.data.splits import Splits

log = logging.getLogger(__name__)

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class BirdImages:
    """How many birds are drawn, and where they are kept.

    Attributes:
        train_images: number of images in train, spread evenly over the species.
        val_images: number of images in val.
        test_images: number of images in test.
        cache_dir: folder of generated images; None: the user's cache folder.
        max_cache_gib: as in `Preparation`; the images are in memory anyway.
    """

    train_images: int = 1500
    val_images: int = 300
    test_images: int = 500
    cache_dir: str | Path | None = None
    max_cache_gib: float = 4


@spread
def synthetic(birds: BirdSettings, images: BirdImages) -> Splits:
    """Draw birds whose species is coded in the colours of head, beak, body, wing and tail.

    Pose, scale, place, direction and colours vary; boxes, masks and part boxes are those of the visible pixels. Every
    image has a random stream of its own, made from (seed, split, index), so the first images of a split stay the same
    when it grows. Numbers are float64 and rounded once, to uint8, so that platforms agree.

    Args:
        birds: what is drawn.
        images: how many.

    Raises:
        ValueError: for a setting outside its range, or fewer images than species.
        TypeError: for a setting that does not exist.
    """
    folder = Path(images.cache_dir or Path(platformdirs.user_cache_dir("wsol")) / "synthetic")
    samples: dict[str, Sample] = {}
    entries = []
    for split, count in zip(_SPLITS, (images.train_images, images.val_images, images.test_images), strict=True):
        if count < birds.num_classes:
            raise ValueError(f"{split}_images must be at least num_classes ({birds.num_classes}), got {count}.")
        made = _cached(folder / f"{birds.key()}-{split}-{count}.npz", birds, split, count)
        samples |= {sample.image_id: sample for sample in made}
        entries.append(
            [
                Entry(sample.image_id, sample.class_id, sample.boxes, Path(sample.image_id), size=sample.size)
                for sample in made
            ]
        )
    species = [f"species {index}" for index in range(birds.num_classes)]
    # train_size is image_size, since a crop would cut birds off: place and scale vary by themselves.
    return prepare(
        Indices("synthetic", species, *entries, load=partial(_look_up, samples)),
        Preparation(birds.image_size, birds.image_size, images.max_cache_gib),
    )


def _look_up(samples: dict[str, Sample], entry: Entry) -> Sample:
    return samples[entry.image_id]


def _cached(path: Path, settings: BirdSettings, split: str, count: int) -> list[Sample]:
    """Return the split's samples, from the cache file or drawn again; a damaged file is replaced."""
    if path.exists():
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return _to_samples(split, dict(arrays))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("The cache file %s cannot be read (%s); its images are drawn again.", path, error)
    arrays = _draw_split(settings, split, count)
    try:
        with whole_file(path) as aside:
            np.savez(aside, **arrays)  # type: ignore[arg-type]
    except OSError as error:  # a read-only home or a full disk costs seconds a run, not the run
        log.warning("The cache file %s cannot be written (%s); images are drawn again next time.", path, error)
    return _to_samples(split, arrays)


def _draw_split(settings: BirdSettings, split: str, count: int) -> dict[str, NDArray]:
    colors = species_colors(settings)
    class_ids = np.arange(count) % settings.num_classes
    drawings = []
    for index in tqdm(range(count), desc=f"drawing {split} birds", unit="image", delay=2, leave=False, disable=None):
        generator = np.random.default_rng([settings.seed, _SPLITS.index(split), index])
        drawings.append(draw(settings, colors, int(class_ids[index]), generator))
    return {
        "class_ids": class_ids,
        "images": np.stack([drawing.image for drawing in drawings]),
        "masks": np.stack([drawing.mask for drawing in drawings]),
        "boxes": np.concatenate([drawing.boxes for drawing in drawings]),
        "box_counts": np.array([len(drawing.boxes) for drawing in drawings]),
        "part_boxes": np.stack([drawing.part_boxes for drawing in drawings]),
    }


def _to_samples(split: str, arrays: dict[str, NDArray]) -> list[Sample]:
    boxes = np.split(arrays["boxes"], np.cumsum(arrays["box_counts"])[:-1])
    return [
        Sample(
            image=image,
            class_id=int(class_id),
            image_id=f"{split}/{index:05d}",
            boxes=boxes[index],
            mask=arrays["masks"][index],
            part_boxes={
                part: box
                for part, box in zip(PARTS, arrays["part_boxes"][index], strict=True)
                if np.isfinite(box).all()
            },
        )
        for index, (image, class_id) in enumerate(zip(arrays["images"], arrays["class_ids"], strict=True))
    ]
