"""What the table calls the same is the same: each claim is checked on maps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from map_methods import EARLY, make
from networks import tiny_classifier
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.counterfactual import Counterfactual
from wsol.maps.methods.eigen_cam import EigenCAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.grad_cam_pp import GradCAMPlusPlus
from wsol.maps.methods.hires_cam import HiResCAM
from wsol.maps.methods.layer_cam import LayerCAM
from wsol.maps.methods.xgrad_cam import XGradCAM
from wsol.maps.theorems import same_as
from wsol.networks.base_pooling import ChannelPooling
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.scoring.protocol import TIGHT, ZHOU2016
from wsol.scoring.score_map import to_score_maps

MAPS = {
    "cam": CAM(),
    "grad_cam": GradCAM(),
    "early": GradCAM(target_layer=EARLY),
    "counterfactual": Counterfactual(),
    "grad_cam_pp": GradCAMPlusPlus(),
    "xgrad_cam": XGradCAM(),
    "hires_cam": HiResCAM(),
    "layer_cam": LayerCAM(),
    "eigen_cam": EigenCAM(),
}
CLAIMS = {
    GAP: {
        "grad_cam": "same as cam up to ReLU",
        "xgrad_cam": "same as cam up to ReLU",
        "hires_cam": "same as cam",
    },
    GMP: {"grad_cam": "same as cam up to ReLU"},
}


@pytest.mark.parametrize("pooling", CLAIMS)
def test_claims_are_made_where_they_hold_and_nowhere_else(pooling, images, class_ids):
    classifier = tiny_classifier(pooling())
    cam = make(MAPS["cam"], classifier, images, class_ids)
    for name, method in MAPS.items():
        claim = same_as(name, MAPS, pooling(), TIGHT.cuts_negative)
        assert claim == CLAIMS[pooling].get(name, "")
        maps = make(method, classifier, images, class_ids)
        if name == "cam" or maps.shape != cam.shape:
            continue
        expected = cam if claim == "same as cam" else cam.relu()
        equal = torch.allclose(maps / maps.abs().max(), expected / expected.abs().max(), atol=1e-5)
        assert equal == bool(claim), name


def test_a_protocol_that_cuts_at_zero_before_resizing_makes_them_the_same(images, class_ids):
    classifier = tiny_classifier(GMP())
    cam, grad_cam = (make(MAPS[name], classifier, images, class_ids) for name in ("cam", "grad_cam"))
    assert (cam < 0).any()
    relu = replace(TIGHT, name="relu", rectify="relu")
    first = replace(ZHOU2016, name="first", order="normalize_first")
    for protocol, claim in ((relu, ""), (first, ""), (TIGHT, " up to ReLU"), (ZHOU2016, " up to ReLU")):
        assert same_as("grad_cam", MAPS, GMP(), protocol.cuts_negative) == f"same as cam{claim}"
        scores = [to_score_maps(maps, (16, 16), protocol) for maps in (cam, grad_cam)]
        assert np.allclose(*scores, atol=1e-5) == (not claim)


def test_nothing_is_claimed_without_cam_or_without_knowing_the_pooling():
    assert same_as("grad_cam", {"grad_cam": GradCAM()}, GAP(), TIGHT.cuts_negative) == ""
    assert same_as("grad_cam", MAPS, None, TIGHT.cuts_negative) == ""
    assert same_as("grad_cam", MAPS, torch.nn.AdaptiveAvgPool2d(1), TIGHT.cuts_negative) == ""
    assert same_as("grad_cam", MAPS, ChannelPooling(), TIGHT.cuts_negative) == ""
    named = {"by_weights": CAM(), "grad_cam": GradCAM()}
    assert same_as("grad_cam", named, GAP(), TIGHT.cuts_negative) == "same as by_weights up to ReLU"
