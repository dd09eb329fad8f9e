"""Which map methods give the same maps by theorem, so that a table does not count one result twice."""

from collections.abc import Mapping

from torch import nn

from wsol.maps.base_map import MapMethod
from wsol.maps.forward_pass import LAST
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.hires_cam import HiResCAM
from wsol.maps.methods.xgrad_cam import XGradCAM
from wsol.networks.base_pooling import ChannelPooling, PoolSite


def same_as(name: str, maps: Mapping[str, MapMethod], pooling: nn.Module | None, cuts_negative: bool) -> str:
    """The row that this one repeats by theorem, or an empty text.

    At the last layer of pooling + one linear layer, with h w cells: Grad-CAM = ReLU(CAM) / (h w) for every pooling
    with pooling(x + t) = pooling(x) + t; under GAP also XGrad-CAM = Grad-CAM and HiResCAM = CAM / (h w). A factor
    changes no box. A ReLU does, unless the protocol cuts every map at zero before it is resized.

    Args:
        name: of the method.
        maps: all methods of the table.
        pooling: of the classifier; None: nothing is known of it.
        cuts_negative: whether the protocol cuts maps at zero before it resizes them, `Protocol.cuts_negative`.

    Returns:
        `same as cam`, `same as cam up to ReLU`, or nothing.
    """
    method = maps[name]
    cam = next((other for other, one in maps.items() if type(one) is CAM and _at_the_last_layer(one)), None)
    if cam is None or not isinstance(pooling, ChannelPooling) or not _at_the_last_layer(method):
        return ""
    if isinstance(method, HiResCAM) and pooling.is_mean:
        return f"same as {cam}"
    if (isinstance(method, GradCAM) and pooling.shift_equivariant) or (
        isinstance(method, XGradCAM) and pooling.is_mean
    ):
        return f"same as {cam}" if cuts_negative else f"same as {cam} up to ReLU"
    return ""


def exactness(method: MapMethod, pooling: nn.Module | None, pool_site: PoolSite) -> str:
    """How a map makes up the class's logit, less its bias, or an empty text where it does not.

    CAM is what the head pools where class scores are pooled, and where the mean of features is, which is the same.
    Behind another pooling of features that weighted sum of channels is no part of the computation; Zhou et al., CVPR
    2016, section 3.2, compare it all the same. HiResCAM sums to the logit under every pooling with
    pooling(s x) = s pooling(x) for s > 0, by Euler's theorem; class scores contain the bias, so where they are pooled a
    constant must also pass through.

    Args:
        method: that made it.
        pooling: of the classifier; None: nothing is known of it.
        pool_site: where it stands.

    Returns:
        `pooled`, `summed`, or nothing.
    """
    if not isinstance(pooling, ChannelPooling) or not _at_the_last_layer(method):
        return ""
    if type(method) is CAM:
        return "pooled" if pool_site == "scores" or pooling.is_mean else ""
    if isinstance(method, HiResCAM) and pooling.homogeneous:
        return "summed" if pool_site == "features" or pooling.shift_equivariant else ""
    return ""


def _at_the_last_layer(method: MapMethod) -> bool:
    return method.target_layers == (LAST,)
