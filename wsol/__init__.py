"""Weakly supervised object localization: train with image labels, make maps, cut them into boxes, score the boxes.

The names below are the public API. Each is imported when it is first used, so that `import wsol` takes milliseconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsol.data.sample import Sample as Sample
    from wsol.data.splits import Splits as Splits
    from wsol.explain.explained_batch import maps_of_batch as maps_of_batch
    from wsol.geometry import box_iou as box_iou
    from wsol.maps.make_maps import make_maps as make_maps
    from wsol.maps.methods.cam import CAM as CAM
    from wsol.maps.methods.grad_cam import GradCAM as GradCAM
    from wsol.maps.methods.grad_cam_pp import GradCAMPlusPlus as GradCAMPlusPlus
    from wsol.maps.target_layer import last_spatial_layer as last_spatial_layer
    from wsol.networks.classifier import Classifier as Classifier
    from wsol.networks.pooling.gap import GAP as GAP
    from wsol.networks.pooling.gmp import GMP as GMP
    from wsol.scoring.boxes.largest import largest as largest_boxes  # noqa: F401
    from wsol.scoring.match_maps import match_maps as match_maps
    from wsol.scoring.protocol import Protocol as Protocol
    from wsol.scoring.score_map import to_score_maps as to_score_maps
    from wsol.scoring.scores.max_box_acc import max_box_acc as max_box_acc
    from wsol.training.train import TrainSettings as TrainSettings
    from wsol.training.train import train as train

_MODULES = {
    "CAM": "wsol.maps.methods.cam",
    "Classifier": "wsol.networks.classifier",
    "GAP": "wsol.networks.pooling.gap",
    "GMP": "wsol.networks.pooling.gmp",
    "GradCAM": "wsol.maps.methods.grad_cam",
    "GradCAMPlusPlus": "wsol.maps.methods.grad_cam_pp",
    "Protocol": "wsol.scoring.protocol",
    "Sample": "wsol.data.sample",
    "Splits": "wsol.data.splits",
    "TrainSettings": "wsol.training.train",
    "box_iou": "wsol.geometry",
    "largest_boxes": "wsol.scoring.boxes.largest",
    "last_spatial_layer": "wsol.maps.target_layer",
    "make_maps": "wsol.maps.make_maps",
    "maps_of_batch": "wsol.explain.explained_batch",
    "match_maps": "wsol.scoring.match_maps",
    "max_box_acc": "wsol.scoring.scores.max_box_acc",
    "to_score_maps": "wsol.scoring.score_map",
    "train": "wsol.training.train",
}
_OWN_NAMES = {"largest_boxes": "largest"}  # an option is called like its file; alone the word says too little

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'wsol' has no attribute {name!r}; it has {', '.join(__all__)}.")
    value = getattr(importlib.import_module(_MODULES[name]), _OWN_NAMES.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
