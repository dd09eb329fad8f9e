"""Find map methods that give the same maps by theorem, so that a table does not count one result twice."""

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
    """Return the row of a table that a method's row repeats by theorem, or an empty text.

    At the last layer of pooling + one linear layer, with h w cells: Grad-CAM = ReLU(CAM) / (h w) for every pooling
    with pooling(x + t) = pooling(x) + t; under GAP also XGrad-CAM = Grad-CAM and HiResCAM = CAM / (h w). A factor
    changes no box. A ReLU does, unless the protocol clips every map at zero before it is resized.

    Args:
        name: name of the method.
        maps: all methods of the table, by name.
        pooling: pooling of the classifier; None if unknown.
        cuts_negative: whether the protocol clips maps at zero before it resizes them, `Protocol.cuts_negative`.

    Returns:
        `same as cam`, `same as cam up to ReLU`, or an empty text.
    """
    method = maps[name]
    cams = (other for other, candidate in maps.items() if type(candidate) is CAM and _at_the_last_layer(candidate))
    cam = next(cams, None)
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
    """Return how a map adds up to the logit of its class without the bias, or an empty text if it does not.

    The head pools CAM itself where it pools class scores, and where it takes the mean of features, which is the same.
    With another pooling of features, the weighted sum of channels is not part of the computation; Zhou et al., CVPR
    2016, section 3.2, compare it nevertheless. HiResCAM sums to the logit under every pooling with
    pooling(s x) = s pooling(x) for s > 0, by Euler's theorem. Class scores contain the bias, so a pooling of class
    scores must also preserve added constants.

    Args:
        method: method that made the map.
        pooling: pooling of the classifier; None if unknown.
        pool_site: place of the pooling.

    Returns:
        `pooled`, `summed`, or an empty text.
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
