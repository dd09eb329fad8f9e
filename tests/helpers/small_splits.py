"""Splits of images larger than the training crops, and a trunk that counts the images it reads."""

from functools import partial

import numpy as np

from wsol.data.image_set import ImageSet
from wsol.data.index import Entry
from wsol.data.sample import Sample, resize_sample
from wsol.geometry import as_boxes
from wsol.networks.backbones.small_cnn import small_cnn

CLASSES = 4


def load(entry, of=0):
    """Dark to bright noise by class; `of` distinguishes data sets of the same ids."""
    generator = np.random.default_rng([of, int(entry.image_id.split("-")[1])])
    low = 50 * entry.class_id
    image = generator.integers(low, low + 60, (24, 24, 3), dtype=np.uint8)
    return Sample(image, entry.class_id, entry.image_id, as_boxes(entry.boxes))


def image_set(count=12, name="train", side=20, boxes=False, of=0):
    box = [(2.0, 3.0, 9.0, 11.0)] if boxes else []
    entries = [
        Entry(f"{name}-{number}", number % CLASSES, as_boxes(box), f"{name}/{number}.jpg") for number in range(count)
    ]
    return ImageSet(
        entries, partial(load, of=of), partial(resize_sample, size=(side, side)), labels_only=not boxes, name=name
    )


def counting_trunk(channels=(4, 6)):
    """A trunk, and a list that the numbers of images it reads are appended to."""
    trunk, read = small_cnn(channels=channels), []
    trunk.register_forward_hook(lambda module, inputs, output: read.append(len(inputs[0])))
    return trunk, read
