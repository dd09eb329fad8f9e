"""Read trained runs in commands: the configuration, the classifier and its data; and run a command to its end."""

import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException
from omegaconf import DictConfig

from config.build import build_classifier, build_data
from config.options import CONF, admit_own_options, option_files, own_folders, saved_node
from config.types import check_run
from wsol.atomic_files import read_json
from wsol.data.splits import Splits
from wsol.identity import digest
from wsol.networks.classifier import Classifier
from wsol.runs.as_is import AS_IS
from wsol.runs.few_shot import few_shot_count
from wsol.runs.folder import RunFolder, load_classifier, load_or_none
from wsol.versions import commit


def configuration(overrides: Sequence[str], defaults: Sequence[str] = ()) -> DictConfig:
    """Compose conf/run.yaml with overrides, and with the command's own defaults for what is not overridden.

    Raises:
        ValueError: if there is no such option, or if a setting has a wrong type.
        HydraException: if an override cannot be read.
    """
    given = {override.split("=", 1)[0].lstrip("+~") for override in overrides}
    kept = [default for default in defaults if default.split("=", 1)[0] not in given]
    try:
        own = [f"hydra.searchpath=[{','.join(f'file://{folder.resolve()}' for folder in own_folders())}]"]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("run", overrides=[*(own if own_folders() else []), *kept, *overrides])
    except MissingConfigException as error:
        group = str(error.missing_cfg_file).rpartition("/")[0]
        options = ", ".join(option_files(group))
        raise ValueError(f"there is no option {error.missing_cfg_file}; options: {options}.") from None
    check_run(cfg)
    return cfg


_PARTS = ("backbone", "pooling", "method")  # parts of a classifier that are options


@dataclass(frozen=True)
class SavedRun:
    """A trained classifier, read from its run folder."""

    name: str
    classifier: Classifier
    settings: dict[str, Any]

    @property
    def image_size(self) -> int:
        """Side in pixels of the square images that the classifier reads."""
        return int(self.settings["identity"]["image_size"])

    def splits(self, cfg: DictConfig) -> Splits:
        """Read the data that the classifier was trained on; see `splits_of`."""
        return splits_of(self.settings, cfg)


def splits_of(settings: Mapping[str, Any], cfg: DictConfig) -> Splits:
    """Read the data that a run was trained on.

    Args:
        settings: the run's settings.
        cfg: a configuration, whose `machine` names the folder of the data.

    Raises:
        FileNotFoundError: if the data are missing.
        ValueError: if the data differ from those of the training, so that class ids would mean other classes.
    """
    data = settings["identity"]["data"]
    source = f"the settings.json of {settings['run']}"
    reader = saved_node("data", settings.get("reader") or data["settings"], source)
    here = configuration([f"data={(settings.get('reader') or data['settings'])['option']}"])
    here.machine = cfg.machine
    reader.pop("cache_dir", None)  # a run's file must not choose where this process writes
    # A network as it is was scored without training images.
    splits = build_data({**here.data, **reader}, cfg.machine, with_train="network" not in settings["identity"])
    if splits.fingerprint != data["fingerprint"]:
        raise ValueError(
            f"the data set {settings['data']!r} differs from the one that {settings['run']} was trained on "
            f"(fingerprint {splits.fingerprint}, not {data['fingerprint']})."
        )
    return splits


def data_key(settings: Mapping[str, Any]) -> str:
    """Return a key of the images that `splits_of` reads: of the data, their reader, and the image size.

    A fingerprint is no such key: it identifies ids, labels and boxes, which two readings of the same files share.

    Args:
        settings: a run's settings; missing ones are None in the key.
    """
    identity = settings.get("identity", {})
    return digest([settings.get("data"), settings.get("reader"), identity.get("data"), identity.get("image_size")])


def read_run(path: Path) -> SavedRun:
    """Rebuild the classifier of a run folder from its settings, in eval mode.

    Raises:
        FileNotFoundError: if the folder is no run folder, or has no trained classifier.
        ValueError: if its files do not match each other.
    """
    folder = RunFolder(path)
    if (load_or_none(folder.settings_file, read_json) or {}).get("backbone") == AS_IS:
        raise ValueError(f"{path} scored a network as it is, and keeps no weights of it; name the network itself.")
    for file in (folder.settings_file, folder.classifier_file):
        if not file.is_file():
            raise FileNotFoundError(f"{path} is no trained run: {file.name} is missing; name a folder of results/runs.")
    if few_shot_count(str((load_or_none(folder.settings_file, read_json) or {}).get("pooling"))) is not None:
        raise ValueError(f"{path} is a few-shot network, which predicts no classes; name a run with a head.")
    settings, source = folder.settings(), str(folder.settings_file)
    try:
        identity = settings["identity"]
        parts = {name: identity[name] for name in (*_PARTS, "pool_site") if identity.get(name)}
        num_classes = settings["num_classes"]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{source} does not describe a run ({type(error).__name__}: {error}).") from None
    parts |= {name: saved_node(name, parts.get(name), source) for name in _PARTS if name in parts or name != "method"}
    parts["backbone"] = without_weights(parts["backbone"])  # the run's own weights are loaded below
    try:
        classifier = build_classifier(parts, num_classes)
        load_classifier(folder.classifier_file, classifier)
    except Exception as error:  # damaged JSON, zip, pickle and tensors raise a dozen types
        reason = one_line(error)[:200]
        raise ValueError(f"{path} cannot be rebuilt ({type(error).__name__}: {reason}); train it again.") from error
    return SavedRun(path.name or path.resolve().name, classifier.eval(), settings)


def without_weights(node: Any) -> Any:
    """Return a backbone's node without pretrained weights, so that building it downloads nothing."""
    return {**node, "weights": None} if isinstance(node, dict) and "weights" in node else node


def made_by() -> str:
    """Describe the command and the code of a picture."""
    return f"command: {shlex.join(['python', *sys.argv])}; code {commit()}"


def one_line(error: BaseException) -> str:
    """Return an error's message without line breaks."""
    return " ".join(str(error).split())


def end(command: Callable[[], int], about: str | None = None) -> int:
    """Run a command, and print an error in one line; HYDRA_FULL_ERROR=1 shows its traceback.

    Args:
        command: the function to run.
        about: help text, printed for --help; None if the command prints its own.

    Returns:
        The exit status of the command; 2 after an error.
    """
    if about is not None and {"-h", "--help"} & set(sys.argv[1:]):
        print(about.strip())
        return 0
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    # The first compilation takes half a minute, which must not look like a hang.
    logging.getLogger("wsol.scoring.compilation").setLevel(logging.INFO)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs a dozen retries; the error is enough
    try:
        admit_own_options()
        return command()
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
