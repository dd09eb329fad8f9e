"""Settings held against the types of what they set, before anything is made of them.

Hydra gives `no`, `off` and `none` as text, which is true where a bool is asked for, and lets any value through. The
signature that a `_target_` names is the schema; a setting of another type is refused by the name that it is typed by.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from hydra.utils import get_object
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wsol.machine import Machine
from wsol.networks.base_pooling import PoolSite
from wsol.typed_settings import check_setting

# Of conf/run.yaml, in no node of their own.
_OF_A_RUN = {
    "seed": int,
    "pool_site": PoolSite,
    "pooling_at_test": str | None,
    "tune": Mapping[str, Any] | None,
    "few_shot": Sequence[int],
    "psol": bool,
    "thresholds": Mapping[str, float],
    "optimized": bool,
}
_OF_ITS_MACHINE = {**get_type_hints(Machine), "data_root": Path, "follow_links": bool, "max_cache_gib": float}
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check_run(cfg: Any) -> None:
    """Check all that a configuration composed from conf/run.yaml says.

    Raises:
        ValueError: naming the first setting of a wrong type, what it must be, and what it is.
    """
    _check_settings(_OF_A_RUN, {key: _plain(cfg[key]) for key in _OF_A_RUN if key in cfg}, "")
    _check_settings(_OF_ITS_MACHINE, _plain(cfg.machine), "machine.")
    for key in cfg:
        if key != "hydra":
            check_node(cfg._get_node(key))


def check_node(node: Any, name: str | None = None) -> None:
    """Check the settings of a config node, and of all nodes within it, against the signatures of their targets.

    What no annotation speaks of, or one that is no plain type, is let through, as are targets that cannot be imported
    and interpolations that lead nowhere: building the node says what is wrong with those.

    Args:
        node: of OmegaConf, or plain dicts and lists.
        name: what the settings' own names follow, as they are typed; None: the node's place in its configuration.

    Raises:
        ValueError: naming the first setting of a wrong type, what it must be, and what it is.
    """
    if name is None:
        place = node._get_full_key(None) if OmegaConf.is_config(node) else ""
        name = f"{place}." if place else ""
    try:
        found = list(_targets(_plain(node), name))
    except OmegaConfBaseException:
        return
    for target, settings, prefix in found:
        _check_settings(_parameters(target, settings), settings, prefix)


def _plain(node: Any) -> Any:
    """Plain data of a node, or of a dict of nodes, with interpolations resolved."""
    if OmegaConf.is_config(node):
        return OmegaConf.to_container(node, resolve=True)
    return {key: _plain(one) for key, one in node.items()} if isinstance(node, Mapping) else node


def _targets(node: Any, prefix: str) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Target, settings and what goes before a setting's name, of all nodes in plain data."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"], node, prefix
        for key, one in node.items():
            yield from _targets(one, f"{prefix}{key}.")
    elif isinstance(node, list | tuple):
        for one in node:
            yield from _targets(one, prefix)


def _parameters(target: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of those settings that the target takes by name."""
    try:
        parameters = inspect.signature(get_object(target), eval_str=True).parameters
    except Exception:  # whatever the import of somebody's target raises; building it raises the same
        return {}
    others = next((one for one in parameters.values() if one.kind is inspect.Parameter.VAR_KEYWORD), None)
    named = {key: one for key, one in parameters.items() if one.kind in _BY_NAME}
    found = {}
    for key, value in settings.items():
        one = named.get(key, others)
        if one is None or key.startswith("_") or one.annotation is inspect.Parameter.empty:
            continue
        if value is not None or one.default is not None:  # `size: int = None` takes None, too
            found[key] = one.annotation
    return found


def _check_settings(kinds: Mapping[str, Any], settings: Mapping[str, Any], prefix: str) -> None:
    for key, kind in kinds.items():
        if key in settings:
            check_setting(f"{prefix}{key}", settings[key], kind)
