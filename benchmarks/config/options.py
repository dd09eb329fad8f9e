"""Look up options by group and name: in conf/, and in the folder that the user names with --config-dir.

A run folder may come from somebody else. Names in its files are looked up only here, so that the files can choose among
the options of this installation and of the user, and cannot run anything else.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from wsol.identity import admit

CONF = Path(__file__).parents[2] / "conf"
CONFIG_DIR = "--config-dir"  # Hydra's own name for it


def own_folders() -> list[Path]:
    """Return the configuration folders that the command line, or the job that Hydra runs, names with --config-dir.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    folders, rest = [], iter(sys.argv[1:])
    if HydraConfig.initialized():  # a launcher's process has a command line of its own
        sources = HydraConfig.get().runtime.config_sources
        folders += [Path(source.path) for source in sources if source.provider == "command-line"]
    for word in rest:
        if word in (CONFIG_DIR, "-cd"):
            folders.append(Path(next(rest, "")))
        elif word.startswith(f"{CONFIG_DIR}="):
            folders.append(Path(word.partition("=")[2]))
    for folder in dict.fromkeys(folders):
        if not folder.is_dir() or not folder.name:
            raise FileNotFoundError(f"there is no configuration folder {folder}; {CONFIG_DIR} names one like conf/.")
    return list(dict.fromkeys(folders))


def command_words() -> list[str]:
    """Return the words of this process's command line less --config-dir and its folder, which `own_folders` reads."""
    kept, rest = [], iter(sys.argv[1:])
    for word in rest:
        if word in (CONFIG_DIR, "-cd"):
            next(rest, None)
        elif not word.startswith(f"{CONFIG_DIR}="):
            kept.append(word)
    return kept


def option_files(group: str) -> dict[str, Path]:
    """Return the files of a group's options by name, sorted; an option of wsol hides the user's of the same name."""
    files: dict[str, Path] = {}
    for folder in (CONF, *own_folders()):
        for path in sorted((folder / group).glob("*.yaml")):
            files.setdefault(path.stem, path)
    return dict(sorted(files.items()))


def option_file(group: str, name: str) -> Path:
    """Return the file of an option.

    Raises:
        ValueError: if there is no such option.
    """
    files = option_files(group)
    if name not in files:
        raise ValueError(
            f"there is no {group}={name}; options: {', '.join(files)}. If it is an option of your own, name your "
            f"configuration folder: {CONFIG_DIR} DIR."
        )
    return files[name]


def saved_node(group: str, saved: Any, source: str) -> dict[str, Any]:
    """Return the configuration node of an option that a file names.

    Args:
        group: the group in conf/.
        saved: `option` and its settings, as in the file.
        source: the file, for messages.

    Returns:
        `_target_` of the option's own file, with the saved settings.

    Raises:
        ValueError: if there is no such option, or a setting is no plain data.
    """
    if not isinstance(saved, Mapping) or not isinstance(saved.get("option"), str):
        raise ValueError(f"{source} names no option of {group}; another version made it. Make the run again.")
    node = OmegaConf.load(option_file(group, saved["option"]))
    assert isinstance(node, DictConfig)
    settings = {key: value for key, value in saved.items() if key != "option"}
    check_plain(settings, f"{source}: {group}")
    own = {str(key): node[key] for key in node if str(key).startswith("_")}
    return {**own, **settings}


def check_plain(settings: Any, name: str) -> None:
    """Raise ValueError if settings from a file contain what Hydra or OmegaConf would act on.

    Args:
        settings: plain data.
        name: name of the settings, for messages.
    """
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if str(key).startswith("_"):
                raise ValueError(f"{name}.{key}: settings from a file are data, and may not be called {key!r}.")
            check_plain(value, f"{name}.{key}")
    elif isinstance(settings, list):
        for value in settings:
            check_plain(value, name)
    elif isinstance(settings, str) and "${" in settings:
        raise ValueError(f"{name}: settings from a file are data, and may not refer to others, got {settings!r}.")


def check_target(group: str, name: str, node: DictConfig) -> None:
    """Raise ValueError if the command line gave an option another target than its file has.

    Files name an option by its name alone, so the name must stand for one target.
    """
    option = OmegaConf.load(option_file(group, name))
    assert isinstance(option, DictConfig)
    target = option.get("_target_")
    if node.get("_target_") != target:
        raise ValueError(
            f"{group}._target_ is {node.get('_target_')}, but {group}={name} stands for {target}. Write an option of "
            f"your own: a file {group}/NAME.yaml in a folder that {CONFIG_DIR} names."
        )


def admit_own_options() -> None:
    """Let records name the options of the user's own configuration folders, as they name those of wsol."""
    for folder in own_folders():
        for path in sorted(folder.rglob("*.yaml")):
            admit(get_object(target) for target in _targets(OmegaConf.to_container(OmegaConf.load(path))))


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)
