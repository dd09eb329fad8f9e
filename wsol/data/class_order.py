"""Match the classes of a data set with those of a network that somebody else trained."""

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, get_args

from wsol.data.class_names import imagenet_classes

log = logging.getLogger(__name__)

_WNID = re.compile(r"n\d{8}\b")
_NAMED = 3  # classes that a message names

Among = Literal["network", "data"]  # whose classes a prediction may be


def class_order(
    data: Sequence[str], network: Sequence[str] | None, outputs: int, among: Among = "network"
) -> list[int]:
    """Return the outputs of a network in the order of a data set's classes; outputs of other classes follow.

    Classes are matched by wnid where both have one, else by name or one of its synonyms, without capitals; `_` counts
    as a space. Names of outputs that are unknown are those of the data set if there are as many, else those of
    ImageNet-1k if there are 1,000; the log reports it.

    Args:
        data: names of the data set's M classes, by class id.
        network: names of the K outputs, see `TrainedNetwork`; None: unknown.
        outputs: K.
        among: `network`: all K outputs, so that any class of the network may be predicted; `data`: the M outputs alone.

    Returns:
        K or M places of outputs; place m is the output of class m.

    Raises:
        ValueError: if there are not K names, or the network lacks a class of the data set, has several of its name, or
            has one for two classes.
    """
    if among not in get_args(Among):
        raise ValueError(f"predict_among must be network or data, got {among!r}.")
    if network is None and outputs == len(data):
        log.info("The network's %d outputs are taken for the data set's classes, in their order.", outputs)
        return list(range(outputs))
    if network is None and outputs == 1000:
        log.info("The network's 1,000 outputs are taken for the classes of ImageNet-1k, in the order of their wnids.")
        network = imagenet_classes()
    if network is None:
        raise ValueError(
            f"The network gives {outputs} logits, and the data set has {len(data)} classes; name the class of each "
            "output by network.classes=FILE, with a line for each."
        )
    if len(network) != outputs:
        raise ValueError(f"The list of classes has {len(network)} names, and the network gives {outputs} logits.")
    order = _match(data, network)
    others = sorted(set(range(outputs)) - set(order))
    return order + (others if among == "network" else [])


def _match(data: Sequence[str], network: Sequence[str]) -> list[int]:
    outputs: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(network):
        for key in _keys(name):
            outputs[key].append(place)
    found = [_find(name, outputs) for name in data]
    unknown = [name for name, places in zip(data, found, strict=True) if not places]
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise ValueError(
            f"The network has no class {', '.join(map(repr, unknown[:_NAMED]))}{more} of the data set; its classes are "
            f"{', '.join(map(repr, network[:_NAMED]))} ... Choose data.classes that it has, or, with network=module, "
            "name its outputs by network.classes=FILE."
        )
    for name, places in zip(data, found, strict=True):
        if len(places) > 1:
            several = ", ".join(repr(network[place]) for place in places)
            raise ValueError(f"Class {name!r} of the data set could be any of {several}; name it by its wnid.")
    order = [places[0] for places in found]
    first_of: dict[int, str] = {}
    for name, place in zip(data, order, strict=True):
        if place in first_of:
            raise ValueError(f"{first_of[place]!r} and {name!r} of the data set are one class, {network[place]!r}.")
        first_of[place] = name
    return order


def _find(name: str, outputs: dict[str, list[int]]) -> list[int]:
    """Return the outputs of the first key of a name that has any: its wnid before its words."""
    return next((outputs[key] for key in _keys(name) if key in outputs), [])


def _keys(name: str) -> list[str]:
    """Return what a class may be called: its wnid, its whole name, and each synonym between commas."""
    text = " ".join(name.replace("_", " ").casefold().split())
    wnid = _WNID.match(text)
    words = text[wnid.end() :].strip() if wnid else text
    keys = [*([wnid[0]] if wnid else []), words, *words.split(", ")]
    return [key for key in dict.fromkeys(keys) if key]
