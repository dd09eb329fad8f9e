"""Every map method with settings that suit a tiny classifier."""

from importlib.util import find_spec

import torch

from wsol.maps.base_map import MapMethod
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.methods.ablation_cam import AblationCAM
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.cam_nwc import CAMNWC
from wsol.maps.methods.counterfactual import Counterfactual
from wsol.maps.methods.eigen_cam import EigenCAM
from wsol.maps.methods.from_captum import FromCaptum
from wsol.maps.methods.from_grad_cam import FromGradCAM
from wsol.maps.methods.from_torchcam import FromTorchCAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.grad_cam_pp import GradCAMPlusPlus
from wsol.maps.methods.gradient import Gradient
from wsol.maps.methods.guided_backprop import GuidedBackprop
from wsol.maps.methods.guided_grad_cam import GuidedGradCAM
from wsol.maps.methods.hires_cam import HiResCAM
from wsol.maps.methods.input_x_gradient import InputXGradient
from wsol.maps.methods.integrated_gradients import IntegratedGradients
from wsol.maps.methods.layer_cam import LayerCAM
from wsol.maps.methods.rise import RISE
from wsol.maps.methods.score_cam import ScoreCAM
from wsol.maps.methods.smooth_grad import SmoothGrad
from wsol.maps.methods.xgrad_cam import XGradCAM
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP

POOLINGS = [GAP, GMP]
EARLY = "backbone.block1"

METHODS: list[tuple[str, MapMethod]] = [
    ("cam", CAM()),
    ("cam_nwc", CAMNWC()),
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
    ("gradient", Gradient()),
    ("gradient signed", Gradient(channels="sum")),
    ("input_x_gradient", InputXGradient()),
    ("smooth_grad", SmoothGrad(samples=4)),
    ("integrated_gradients", IntegratedGradients(steps=4)),
    ("guided_backprop", GuidedBackprop()),
    ("guided_grad_cam", GuidedGradCAM()),
    ("guided_grad_cam early", GuidedGradCAM(target_layer=EARLY)),
    ("score_cam", ScoreCAM()),
    ("score_cam few", ScoreCAM(target_layer=EARLY, channels=3)),
    ("ablation_cam", AblationCAM()),
    ("ablation_cam early", AblationCAM(target_layer=EARLY)),
    ("rise", RISE(masks=10)),
]
if find_spec("pytorch_grad_cam"):
    METHODS += [("from_grad_cam", FromGradCAM("XGradCAM")), ("from_grad_cam calls", FromGradCAM("ScoreCAM"))]
if find_spec("torchcam"):
    METHODS += [("from_torchcam", FromTorchCAM("LayerCAM", EARLY)), ("from_torchcam cam", FromTorchCAM("CAM"))]
if find_spec("captum"):
    METHODS += [
        ("from_captum", FromCaptum("LayerGradCam")),
        ("from_captum pixels", FromCaptum("IntegratedGradients", options={"n_steps": 4})),
    ]


def make(method: MapMethod, network: torch.nn.Module, images: torch.Tensor, class_ids: torch.Tensor) -> torch.Tensor:
    """The maps, from a pass of their own."""
    return method(forward_pass(network, images, method.target_layers), class_ids)
