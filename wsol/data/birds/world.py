"""Settings and species of the synthetic birds."""

import hashlib
import json
from dataclasses import asdict, dataclass
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

PARTS = ("tail", "body", "wing", "head", "beak")  # in drawing order: later parts cover earlier ones
STRONG_PARTS = ("head", "beak")  # small; the others are large

# Raised whenever the same settings would draw other pixels than before.
GENERATOR_VERSION = 1

Color = NDArray[np.float64]  # (3,) RGB in [0, 1]


@dataclass(frozen=True)
class BirdSettings:
    """Settings of the synthetic birds.

    Attributes:
        image_size: side of the square images in pixels, at least 16.
        num_classes: species, 2 to 100.
        seed: of the species' codes and of every image.
        head_evidence: [0, 1]. How far the head and beak of a species are coloured from the neutral plumage towards
            their code's colour: the evidence that sits in one small, strong part.
        body_evidence: [0, 1]. Likewise for tail, body and wing: evidence spread over the large parts. At 0 they
            are the same in all species.
        object_scale: shortest and longest bird, as fractions of the image side, each above 0, at most 1.5.
        extent: [0.5, 2]. Length of body and tail relative to the head's size: how much of the object lies away from
            the small strong part.
        clutter: [0, 1]. Contrast of the background's texture, and number of twigs and leaves, some before the bird.
        distractors: blobs in the birds' own colours, of a head's size, scattered over the background.
        background_correlation: [0, 1]. Chance that the background has its species' own hue and not a random one.
        color_jitter: [0, 1]. How far plumage, light and single part colours vary between birds of one species.
        instances: birds of the same species in an image, 1 to 8; each has a box.
    """

    image_size: int = 64
    num_classes: int = 10
    seed: int = 0
    head_evidence: float = 0.5
    body_evidence: float = 0.8
    object_scale: tuple[float, float] = (0.5, 0.95)
    extent: float = 1.0
    clutter: float = 0.4
    distractors: int = 4
    background_correlation: float = 0.0
    color_jitter: float = 0.5
    instances: int = 1

    def __post_init__(self) -> None:
        ranges = {
            "image_size": (16, 1024),
            "num_classes": (2, 100),
            "seed": (0, 2**63),
            "head_evidence": (0, 1),
            "body_evidence": (0, 1),
            "extent": (0.5, 2),
            "clutter": (0, 1),
            "distractors": (0, 50),
            "background_correlation": (0, 1),
            "color_jitter": (0, 1),
            "instances": (1, 8),
        }
        whole = ("image_size", "num_classes", "seed", "distractors", "instances")
        for name, (low, high) in ranges.items():
            kind = Integral if name in whole else Real
            if not isinstance(getattr(self, name), kind) or isinstance(getattr(self, name), bool):
                wanted = "a whole number" if name in whole else "a number"
                raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)!r}.")
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie in [{low}, {high}], got {getattr(self, name)}.")
        if isinstance(self.object_scale, list):  # from a config
            object.__setattr__(self, "object_scale", tuple(self.object_scale))
        if not isinstance(self.object_scale, tuple) or len(self.object_scale) != 2:
            raise ValueError(f"object_scale must be two numbers, (shortest, longest), got {self.object_scale!r}.")
        small, large = self.object_scale
        if not 0 < small <= large <= 1.5:
            raise ValueError(f"object_scale must be (shortest, longest) within (0, 1.5], got {self.object_scale}.")

    def key(self) -> str:
        """Return 16 hex digits that identify the settings and the generator's version."""
        text = json.dumps([GENERATOR_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def species_colors(settings: BirdSettings) -> dict[str, NDArray[np.float64]]:
    """Return part -> (num_classes, 3) colours in [0, 1]: the code by which species differ.

    Head and beak have a hue of the species' own, the closer to its neighbours' the more species there are. Tail, body
    and wing have one of four hues each; no two of the first 64 species agree in all three.
    """
    generator = np.random.default_rng([settings.seed, 0xC0DE])
    species = np.arange(settings.num_classes)
    codes = {"head": (species + generator.random()) / settings.num_classes}
    codes["beak"] = (codes["head"] + 0.5) % 1
    palette = (np.arange(4) + generator.random()) / 4
    combination = generator.permutation(64)[species % 64]
    for place, part in enumerate(("tail", "body", "wing")):
        codes[part] = palette[combination // 4**place % 4]
    return {part: hue_to_rgb(codes[part]) for part in PARTS}


def hue_to_rgb(hue: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return (..., 3) saturated colours of these hues in [0, 1): the RGB colour wheel."""
    offset = np.array([0.0, 2 / 3, 1 / 3])
    ramp = np.abs((np.asarray(hue)[..., None] + offset) % 1 * 6 - 3) - 1
    return 0.1 + 0.8 * np.clip(ramp, 0, 1)
