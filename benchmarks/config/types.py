"""Check settings against the annotations of their targets, before anything is built from them.

Hydra reads `no`, `off` and `none` as text, which counts as true in place of a bool, and accepts any value. The
signature of a `_target_` is the schema; the error for a setting of another type names the setting as users type it.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from hydra.utils import get_object
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wsol.data.class_order import Among
from wsol.machine import Machine
from wsol.networks.base_pooling import PoolSite
from wsol.typed_settings import check_setting

# Settings at the top of conf/run.yaml.
_OF_A_RUN = {
    "seed": int,
    "pool_site": PoolSite,
    "pooling_at_test": str | None,
    "tune": Mapping[str, Any] | None,
    "few_shot": Sequence[int],
    "psol": bool,
    "predict_among": Among,
    "thresholds": Mapping[str, float],
    "optimized": bool,
}
_OF_ITS_MACHINE = {**get_type_hints(Machine), "data_root": Path, "follow_links": bool, "max_cache_gib": float}
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check_run(cfg: Any) -> None:
    """Check all settings of a configuration that was composed from conf/run.yaml.

    Raises:
        ValueError: if a setting has a wrong type; the message names the setting, the expected type and the value.
    """
    _check_settings(_OF_A_RUN, {key: _plain(cfg[key]) for key in _OF_A_RUN if key in cfg}, "")
    _check_settings(_OF_ITS_MACHINE, _plain(cfg.machine), "machine.")
    for key in cfg:
        if key != "hydra":
            check_node(cfg._get_node(key))


def check_node(node: Any, name: str | None = None) -> None:
    """Check the settings of a config node, and of all nodes within it, against the signatures of their targets.

    Settings without an annotation, or with one that is no plain type, are not checked. Neither are targets that cannot
    be imported and interpolations that do not resolve: building the node raises their errors.

    Args:
        node: a node of OmegaConf, or plain dicts and lists.
        name: prefix of the settings' names in messages; None for the node's place in its configuration.

    Raises:
        ValueError: if a setting has a wrong type; the message names the setting, the expected type and the value.
    """
    if name is None:
        place = node._get_full_key(None) if OmegaConf.is_config(node) else ""
        name = f"{place}." if place else ""
    try:
        targets = list(_targets(_plain(node), name))
    except OmegaConfBaseException:
        return
    for target, settings, prefix in targets:
        _check_settings(_parameters(target, settings), settings, prefix)


def _plain(node: Any) -> Any:
    """Return the plain data of a node, or of a dict of nodes, with interpolations resolved."""
    if OmegaConf.is_config(node):
        return OmegaConf.to_container(node, resolve=True)
    return {key: _plain(value) for key, value in node.items()} if isinstance(node, Mapping) else node


def _targets(node: Any, prefix: str) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield the target, the settings and the prefix of the settings' names, of all nodes in plain data."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"], node, prefix
        for key, value in node.items():
            yield from _targets(value, f"{prefix}{key}.")
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _targets(value, prefix)


def _parameters(target: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the annotations of the settings that the target takes by name."""
    try:
        parameters = inspect.signature(get_object(target), eval_str=True).parameters
    except Exception:  # the import of a target may raise anything; building it raises the same
        return {}
    others = next((other for other in parameters.values() if other.kind is inspect.Parameter.VAR_KEYWORD), None)
    named = {key: parameter for key, parameter in parameters.items() if parameter.kind in _BY_NAME}
    annotations = {}
    for key, value in settings.items():
        parameter = named.get(key, others)
        if parameter is None or key.startswith("_") or parameter.annotation is inspect.Parameter.empty:
            continue
        if value is not None or parameter.default is not None:  # `size: int = None` also takes None
            annotations[key] = parameter.annotation
    return annotations


def _check_settings(kinds: Mapping[str, Any], settings: Mapping[str, Any], prefix: str) -> None:
    for key, kind in kinds.items():
        if key in settings:
            check_setting(f"{prefix}{key}", settings[key], kind)
