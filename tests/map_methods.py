"""Every map method with settings that suit a tiny classifier."""

import torch

from wsol.forward_pass import LAST, forward_pass
from wsol.map_method import MapMethod
from wsol.maps.cam import CAM
from wsol.maps.counterfactual import Counterfactual
from wsol.maps.eigen_cam import EigenCAM
from wsol.maps.grad_cam import GradCAM
from wsol.maps.grad_cam_pp import GradCAMPlusPlus
from wsol.maps.hires_cam import HiResCAM
from wsol.maps.layer_cam import LayerCAM
from wsol.maps.xgrad_cam import XGradCAM
from wsol.pooling.gap import GAP
from wsol.pooling.gmp import GMP

POOLINGS = [GAP, GMP]
EARLY = "backbone.block1"

METHODS: list[tuple[str, MapMethod]] = [
    ("cam", CAM()),
    ("grad_cam", GradCAM()),
    ("grad_cam early", GradCAM(target_layer=EARLY)),
    ("counterfactual", Counterfactual()),
    ("grad_cam_pp", GradCAMPlusPlus()),
    ("grad_cam_pp early", GradCAMPlusPlus(target_layer=EARLY)),
    ("xgrad_cam", XGradCAM()),
    ("xgrad_cam early", XGradCAM(target_layer=EARLY)),
    ("hires_cam", HiResCAM()),
    ("hires_cam early", HiResCAM(target_layer=EARLY)),
    ("layer_cam", LayerCAM()),
    ("layer_cam fused", LayerCAM(target_layers=(EARLY, LAST))),
    ("eigen_cam", EigenCAM()),
]


def make(method: MapMethod, network: torch.nn.Module, images: torch.Tensor, class_ids: torch.Tensor) -> torch.Tensor:
    """The maps, from a pass of their own."""
    return method(forward_pass(network, images, method.target_layers), class_ids)
