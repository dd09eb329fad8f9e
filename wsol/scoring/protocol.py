"""Define protocols: everything between an activation map and a hit that changes the number, as one named object."""

from dataclasses import dataclass, replace
from typing import Literal

from wsol.geometry import Size

Interpolation = Literal["bilinear", "bicubic"]
Normalization = Literal["min_max", "max", "percentile", "ivr"]
# `label_free` and those after it: see `LABEL_FREE` in wsol/scoring/thresholds.py.
ThresholdPolicy = (
    Literal[
        "oracle",
        "held_out",
        "label_free",
        "label_free_isodata",
        "label_free_li",
        "label_free_triangle",
        "label_free_yen",
    ]
    | float
)


@dataclass(frozen=True)
class Protocol:
    """How maps become boxes, and when a box is right. Numbers of different protocols are not comparable.

    Each score adds what a protocol leaves open: the box rule, and what chooses τ.

    Attributes:
        name: for tables and files. A changed protocol needs another name.
        grid: (height, width) that maps and true boxes are resized to; None: the prepared image's.
        interpolation: how activation maps are upsampled.
        normalization: `min_max`: to [0, 1]. `max`: divided by the maximum, negative scores becoming 0. `percentile`:
            min-max with that percentile as the maximum, higher scores becoming 1: PaS of Bae et al., "Rethinking
            Class Activation Mapping for Weakly Supervised Object Localization", ECCV 2020, as their published code
            computes it. `ivr`: min-max with that percentile as the minimum, lower scores becoming 0: Kim et al.,
            "Normalization Matters in Weakly Supervised Object Localization", ICCV 2021. Where the two ends are
            equal, the map becomes zeros. Differs from the code for IVR, which takes the value at rank
            ⌊n p / 100⌋, without interpolation.
        quantization: `none`: foreground is where score > τ. `uint8`: scores are cut to q = 0 ... 255, and foreground is
            where q > int(τ max q).
        regions: what a box is drawn around. `pixels`: 8-connected components; the largest has the most pixels, of
            equals the first in raster order. `contours`: the outer boundary of each component and the boundary of each
            hole; the largest has the largest polygon through pixel centres with holes filled, of equals the one whose
            first pixel in raster order comes last.
        iou: `half_open`: boxes are edges. `inclusive`: the far edge, at most the last pixel, is read as a pixel
            inside the box, and so are true boxes, cut to whole pixels; where nothing is foreground, the box is the
            pixel (0, 0).
        true_boxes: compare with `all` true boxes of an image, or with its `first`.
        map_class: the class that maps are made for. `predicted`: the class that ranks first, so that an image counts
            only where the class is right; a score with the class given, such as GT-known Loc, reads the map of the true
            class all the same. Scores that read the map without a threshold are not admitted.
        threshold: a τ that is part of the protocol; None: each score names what chooses it.
        rectify: `none`: activation maps as they are. `relu`: cut at 0, before anything else.
        percentile: of `percentile` and `ivr`, in [0, 100], linear between values (`numpy.percentile`); None for the
            others.
        order: `resize_first`: maps are normalized on the grid. `normalize_first`: on the network's own cells, then
            resized and cut to [0, 1], since bicubic overshoots; their range is then no longer exactly [0, 1].
    """

    name: str
    grid: Size | None
    interpolation: Interpolation
    normalization: Normalization
    quantization: Literal["none", "uint8"]
    regions: Literal["pixels", "contours"]
    iou: Literal["half_open", "inclusive"]
    true_boxes: Literal["all", "first"]
    map_class: Literal["true", "predicted"]
    threshold: float | None
    rectify: Literal["none", "relu"] = "none"
    percentile: float | None = None
    order: Literal["resize_first", "normalize_first"] = "resize_first"

    def __post_init__(self) -> None:
        choices = {
            "interpolation": ("bilinear", "bicubic"),
            "normalization": ("min_max", "max", "percentile", "ivr"),
            "quantization": ("none", "uint8"),
            "regions": ("pixels", "contours"),
            "iou": ("half_open", "inclusive"),
            "true_boxes": ("all", "first"),
            "map_class": ("true", "predicted"),
            "rectify": ("none", "relu"),
            "order": ("resize_first", "normalize_first"),
        }
        for field, allowed in choices.items():
            if getattr(self, field) not in allowed:
                raise ValueError(
                    f"Protocol {self.name!r}: {field} must be one of {allowed}, got {getattr(self, field)!r}."
                )
        self._check_percentile()
        if self.grid is not None:
            object.__setattr__(self, "grid", tuple(self.grid))  # a list, where it comes from a config
        named = NAMED.get(self.name)
        if named is not None and self != named:
            raise ValueError(f"This is not the protocol {self.name!r} any more; give it a name of its own.")

    def _check_percentile(self) -> None:
        if self.normalization not in ("percentile", "ivr"):
            if self.percentile is not None:
                raise ValueError(
                    f"Protocol {self.name!r}: normalization {self.normalization!r} reads no percentile, got "
                    f"{self.percentile!r}; leave it None, or choose 'percentile' or 'ivr'."
                )
            return
        given = self.percentile
        if not isinstance(given, int | float) or isinstance(given, bool) or not 0 <= given <= 100:
            raise ValueError(
                f"Protocol {self.name!r}: normalization {self.normalization!r} needs a percentile in [0, 100], got "
                f"{given!r}; set protocol.percentile."
            )
        object.__setattr__(self, "percentile", float(given))  # 90 and 90.0 are one protocol, with one hash

    @property
    def cuts_negative(self) -> bool:
        """Whether every map is cut at zero before it is resized."""
        # Where maps are resized first, a cell below zero has dimmed its neighbours before `max` cuts it off.
        return self.rectify == "relu" or (self.normalization == "max" and self.order == "normalize_first")

    @property
    def text(self) -> str:
        """The protocol in a sentence."""
        rectified = {"none": "", "relu": " cut at 0"}[self.rectify]
        grid = "the image's size" if self.grid is None else f"{self.grid[0]} x {self.grid[1]} pixels"
        resized = f"{self.interpolation} to {grid}"
        percentile = None if self.percentile is None else f"percentile {self.percentile:g}"
        normalized = {
            "min_max": "min-max normalized",
            "max": "divided by their maximum",
            "percentile": f"min-max normalized up to their {percentile}",
            "ivr": f"min-max normalized from their {percentile}",
        }[self.normalization]
        steps = {
            "resize_first": f"{resized}, {normalized}",
            "normalize_first": f"{normalized} on the network's grid, then {resized}",
        }[self.order]
        cut = {"none": "", "uint8": ", cut to bytes"}[self.quantization]
        around = {
            "pixels": "components, the largest by its pixels",
            "contours": "outer contours and holes, the largest by its polygon",
        }[self.regions]
        convention = {"half_open": "boxes as edges", "inclusive": "boxes with their last pixel inside"}[self.iou]
        count = {"all": "all true boxes", "first": "the first true box"}[self.true_boxes]
        tau = "" if self.threshold is None else f"; τ {self.threshold}"
        of_class = {"true": "true class", "predicted": "predicted class, of the true one where it is given"}
        return (
            f"maps of the {of_class[self.map_class]}{rectified}, {steps}{cut}; boxes around {around}; "
            f"IoU of {convention} with {count}{tau}"
        )

    def check_score(self, name: str, threshold: ThresholdPolicy | None, needs_class: bool, reads_map: bool) -> None:
        """Raise ValueError if a score cannot be read under this protocol.

        Args:
            name: of the score.
            threshold: what chooses τ; None: the score reads no box.
            needs_class: a box counts only where the class is right.
            reads_map: the score reads the map, without a threshold.
        """
        if threshold is None and not reads_map:
            return
        if None not in (threshold, self.threshold) and threshold != self.threshold:
            raise ValueError(
                f"Protocol {self.name!r} cuts at τ = {self.threshold}, so score {name!r} is not part of it."
            )
        if self.map_class == "predicted" and reads_map:
            raise ValueError(f"Protocol {self.name!r} predicts the class, so score {name!r} is not part of it.")

    def admits(self, threshold: ThresholdPolicy | None, needs_class: bool, reads_map: bool = False) -> bool:
        """Return whether a score with these properties can be read under this protocol; see `check_score`."""
        try:
            self.check_score("", threshold, needs_class, reads_map)
        except ValueError:
            return False
        return True


NAMED: dict[str, Protocol] = {}

# Boxes around the pixels themselves, nothing rounded, on the image that the network saw.
TIGHT = Protocol(
    name="tight",
    grid=None,
    interpolation="bicubic",
    normalization="min_max",
    quantization="none",
    regions="pixels",
    iou="half_open",
    true_boxes="all",
    map_class="true",
    threshold=None,
)

# The code of Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, bit for bit.
# Differs from it: a map with NaN is an error, not zeros; a constant map is zeros before it is resized, not after.
REFERENCE = Protocol(
    name="reference",
    grid=(224, 224),
    interpolation="bicubic",
    normalization="min_max",
    quantization="uint8",
    regions="contours",
    iou="inclusive",
    true_boxes="all",
    map_class="true",
    threshold=None,
)

# Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.2. It leaves the
# interpolation open.
ZHOU2016 = Protocol(
    name="zhou2016",
    grid=None,
    interpolation="bilinear",
    normalization="max",
    quantization="none",
    regions="pixels",
    iou="half_open",
    true_boxes="all",
    map_class="predicted",
    threshold=0.2,
)

# Selvaraju et al., "Grad-CAM", ICCV 2017, section 4.1.
GRAD_CAM2017 = replace(ZHOU2016, name="grad_cam2017", threshold=0.15)

NAMED.update({protocol.name: protocol for protocol in (TIGHT, REFERENCE, ZHOU2016, GRAD_CAM2017)})
