"""Prepare a network that somebody else trained for scoring: its classes in the data's order, the maps it admits."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wsol.data.class_order import Among, class_order
from wsol.data.sample import Batch, collate
from wsol.data.splits import Splits
from wsol.maps.base_map import MapMethod
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.rise import RISE
from wsol.maps.methods.score_cam import ScoreCAM
from wsol.maps.other_libraries import PeerMap
from wsol.maps.target_layer import at_layer, last_spatial_layer
from wsol.networks.base_pooling import PoolSite
from wsol.networks.pooling.gap import GAP
from wsol.networks.trained_network import TrainedNetwork, count_classes
from wsol.training.base_method import TrainingMethod
from wsol.training.train import PLAIN

log = logging.getLogger(__name__)

AS_IS = "as_is"  # the backbone's name in rows of networks that are scored as they are, each named as a head
_MINUTES = (RISE, ScoreCAM, PeerMap)  # methods that may take minutes an image, so that they are not tried beforehand


@dataclass(frozen=True)
class NetworkAsIs:
    """Describe a network that is scored without training, and everything that can change its numbers.

    Attributes:
        data: short name of the data set, for folder names and tables.
        trained: the network; `admit` puts its logits into the order of the data set's classes.
        settings: plain data of `data` and `network`.
        image_size: side of the square images, in pixels.
        reader: plain data that reads the data set again, with its files and folders; distinguishes no runs.
        among: classes that a prediction may be; see `class_order`.
        pooling_layer: GAP if the head is the mean of the target layer and one linear layer, so that theorems hold;
            None: it is not, or `admit` has not looked.
        target_layer: layer that map methods read unless they name another; empty if there is none.
    """

    data: str
    trained: TrainedNetwork
    settings: Mapping[str, Any]
    image_size: int
    reader: Mapping[str, Any] = field(default_factory=dict)
    among: Among = "network"
    pooling_layer: nn.Module | None = None
    target_layer: str = ""
    pool_site: ClassVar[PoolSite] = "features"
    method: ClassVar[TrainingMethod] = PLAIN


def admit(
    as_is: NetworkAsIs, splits: Splits, maps: Mapping[str, MapMethod], named: Collection[str] = ()
) -> tuple[NetworkAsIs, dict[str, MapMethod]]:
    """Check a network and the map methods on one image of val, before a long job starts.

    The network's logits are put into the order of the data set's classes, in place.

    Args:
        as_is: the network.
        splits: the data.
        maps: methods by name. The layer `backbone` stands for the network's last layer with a grid.
        named: methods that the user named one by one; all others come from a list, and those that the network does not
            admit are left out with a line in the log.

    Returns:
        The network with what is now known of it, and the methods that work on it, which read its own layers.

    Raises:
        ValueError: if the network gives no finite logits or its classes do not fit; or if a named method, or every
            method, does not work, with the reason of each and the methods that do.
    """
    network, size = as_is.trained.network, as_is.image_size
    outputs = count_classes(network, size)
    order = class_order(splits.class_names, as_is.trained.class_names, outputs, as_is.among)
    if order != list(range(outputs)):
        network.class_order = torch.tensor(order)
    batch = collate([splits.val[0]])
    refused: dict[str, str] = {}
    try:
        layer = last_spatial_layer(network, size)
    except ValueError as error:
        placed = {name: method for name, method in maps.items() if LAST not in method.target_layers}
        refused = {name: _one_line(error) for name in maps if name not in placed}
    else:
        as_is = replace(as_is, target_layer=layer.name)
        placed = {name: at_layer(method, layer) for name, method in maps.items()}
        if _reason_against(at_layer(CAM(), layer), network, batch) is None:
            as_is = replace(as_is, pooling_layer=GAP())
    for name, method in placed.items():
        reason = _reason_against(method, network, batch)
        if reason is not None:
            refused[name] = reason
    admitted = {name: method for name, method in placed.items() if name not in refused}
    _report(as_is.trained.name, refused, admitted, named)
    return as_is, admitted


def _reason_against(method: MapMethod, network: nn.Module, batch: Batch) -> str | None:
    """Return why a method does not work on a network; None if it does, or takes too long to try."""
    try:
        forward = forward_pass(network, batch.images, method.target_layers)
        if not isinstance(method, _MINUTES):
            maps: Tensor = method(forward, batch.class_ids)
            if not maps.isfinite().all():
                return f"its map of {batch.image_ids[0]} holds NaN or infinity"
    except (ValueError, ImportError) as error:
        return _one_line(error)
    return None


def _report(
    network: str, refused: Mapping[str, str], admitted: Mapping[str, MapMethod], named: Collection[str]
) -> None:
    """Raise ValueError if a named method, or every method, is refused; log those that a list asked for."""
    working = ", ".join(admitted) or "none of those that were asked for"
    if refused and (not admitted or set(refused) & set(named)):
        reasons = " ".join(f"{name}: {reason.rstrip('.')}." for name, reason in refused.items())
        raise ValueError(f"{network} does not admit {', '.join(refused)}. {reasons} What works: {working}.")
    for name, reason in refused.items():
        log.warning("%s is left out, because %s does not admit it: %s", name, network, reason)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
