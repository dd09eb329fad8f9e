"""Open data sets of Hugging Face `datasets`: saved folders, Parquet files, image folders, and those of the hub."""

import glob
import importlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_WANTED = "a folder made by save_to_disk, a folder or glob of Parquet files, a folder of images, or a name on the hub"
_CONVERTED = "refs/convert/parquet"  # where the hub keeps the Parquet form of sets that scripts once made


@dataclass(frozen=True)
class HubSource:
    """Location of a data set.

    Attributes:
        path: a folder made by `save_to_disk`, a folder or glob of Parquet files, a folder of images, or a hub name.
        config: the configuration, of a set that has several.
        revision: branch, tag or commit on the hub.
    """

    path: str | Path
    config: str | None = None
    revision: str | None = None

    @property
    def location(self) -> str:
        """The path as text."""
        return str(self.path)

    @property
    def title(self) -> str:
        """Last part of the path, made fit for file names."""
        fixed = [part for part in Path(self.location).parts if not glob.has_magic(part) and part not in ("/", "..")]
        return re.sub(r"[^\w.+]", "_", fixed[-1] if fixed else "").lstrip(".+_") or "hugging_face"

    @property
    def files(self) -> list[Path]:
        """All local files of the set, sorted; none for a name on the hub."""
        path = Path(self.location).expanduser()
        if glob.has_magic(self.location):
            return sorted(Path(file) for file in glob.glob(str(path), recursive=True) if Path(file).is_file())
        if path.is_file():
            return [path]
        return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else []

    @property
    def is_saved(self) -> bool:
        """Whether the path is a folder made by `save_to_disk`, or one that contains such folders."""
        path = Path(self.location).expanduser()
        if glob.has_magic(self.location) or not path.is_dir():
            return False
        return any((path / name).is_file() for name in ("dataset_dict.json", "state.json")) or bool(_saved_below(path))


def library() -> Any:
    """Import the package `datasets`.

    Raises:
        ImportError: if it is not installed, with how to install it.
    """
    try:
        return importlib.import_module("datasets")
    except ImportError:
        raise ImportError(
            "data=hugging_face needs the package datasets, which is not installed: pip install 'wsol[hugging_face]'"
        ) from None


def open_splits(source: HubSource, wanted: Sequence[str], streaming: bool = False) -> dict[str, Any]:
    """Open some splits of a data set, as `datasets.Dataset` (memory-mapped Arrow) or as streams.

    The names of a glob's files decide their splits: `train.parquet`, `train-00000-of-00009.parquet` and
    `train/any.parquet` are of the split `train`. In folders and on the hub the rules of `datasets` hold, and files that
    are not Arrow yet are converted once into its own cache.

    Args:
        source: location of the set.
        wanted: names of splits.
        streaming: without conversion; not for what `save_to_disk` made, which is read in place anyway.

    Raises:
        ImportError: if `datasets` is not installed.
        FileNotFoundError: for a missing folder or file.
        ConnectionError: if the hub cannot be reached.
        ValueError: for an unknown split, configuration or hub name, damaged files, or options that do not fit.
    """
    datasets = library()
    local = glob.has_magic(source.location) or Path(source.location).expanduser().exists()
    if local and source.revision is not None:
        raise ValueError(
            f"revision={source.revision} is of sets on the hub, but {source.location} is a local file or folder."
        )
    if not local and (
        Path(source.location).is_absolute() or source.location[:1] in (".", "~") or source.location.count("/") > 1
    ):
        raise FileNotFoundError(f"There is no {source.location}; path must be {_WANTED}.")
    if source.is_saved:
        if streaming or source.config is not None:
            what = "streaming=true" if streaming else f"config={source.config}"
            raise ValueError(f"{source.location} was made by save_to_disk, and is read in place: leave out {what}.")
        splits = _load_saved(datasets, source)
    else:
        splits = _load(datasets, source, wanted, local, streaming)
    missing = [split for split in wanted if split not in splits]
    if missing:
        raise ValueError(
            f"{source.location} has no split {missing[0]!r}; it has {', '.join(splits)}. Choose others with "
            "train_split, val_split (null: held out) and test_split."
        )
    return {split: splits[split] for split in wanted}


def _saved_below(folder: Path) -> list[str]:
    return sorted(state.parent.name for state in folder.glob("*/state.json"))


def _load_saved(datasets: Any, source: HubSource) -> dict[str, Any]:
    folder = Path(source.location).expanduser()
    if not (folder / "dataset_dict.json").is_file() and (folder / "state.json").is_file():
        raise ValueError(
            f"{folder} holds a single split; save a DatasetDict, or put the folders of all splits side by side, named "
            "train, test, ..., and give the folder above them."
        )
    try:
        if (folder / "dataset_dict.json").is_file():
            return dict(datasets.load_from_disk(str(folder)))
        return {split: datasets.load_from_disk(str(folder / split)) for split in _saved_below(folder)}
    except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's errors are ValueErrors
        raise ValueError(f"{folder} cannot be read ({_line(error)}); save it again.") from None


def _load(datasets: Any, source: HubSource, wanted: Sequence[str], local: bool, streaming: bool) -> dict[str, Any]:
    try:
        if local and not Path(source.location).expanduser().is_dir():
            files = _files_of_splits(source, wanted)
            return dict(datasets.load_dataset("parquet", data_files=files, streaming=streaming))
        path = str(Path(source.location).expanduser()) if local else source.location
        return dict(datasets.load_dataset(path, name=source.config, revision=source.revision, streaming=streaming))
    except datasets.exceptions.DatasetGenerationError as error:
        raise ValueError(
            f"{source.location} cannot be read ({_line(error.__cause__ or error)}); get its files again."
        ) from None
    except FileNotFoundError as error:  # of `datasets` too, for an empty folder or an unknown name
        if local:
            raise FileNotFoundError(
                f"{source.location} holds no data set ({_line(error)}); path must be {_WANTED}."
            ) from None
        raise ValueError(
            f"The hub shows no data set {source.location!r} ({_line(error)}); correct path or revision, or log in with "
            "`hf auth login` if it is private or gated."
        ) from None
    except OSError as error:
        if local:
            raise
        raise ConnectionError(
            f"There is no folder {source.location}, and the hub cannot be reached for a set of that name "
            f"({_line(error)}); correct path, or connect, or give the folder of a copy."
        ) from None
    except (ValueError, RuntimeError) as error:
        hint = f" Try revision={_CONVERTED}." if "scripts" in str(error) else ""
        raise ValueError(f"{source.location}: {_line(error)}; correct config or path.{hint}") from None


def _files_of_splits(source: HubSource, wanted: Sequence[str]) -> dict[str, list[str]]:
    files = source.files
    others = [file for file in files if file.suffix != ".parquet"]
    if not files or others:
        what = f"finds {others[0]}, which is not Parquet" if others else "finds no file"
        raise FileNotFoundError(f"path={source.location} {what}; path must be {_WANTED}.")
    # Only what the pattern left open distinguishes files: a folder above it may have any name.
    parts = Path(source.location).expanduser().parts
    fixed = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    files_of: dict[str, list[str]] = {split: [] for split in wanted}
    unused = 0
    for file in files:
        names = [*file.parts[fixed:-1], file.stem]
        splits = [
            split for split in wanted if any(re.fullmatch(rf"{re.escape(split)}([-_.]?\d.*)?", name) for name in names)
        ]
        if len(splits) > 1:
            raise ValueError(f"{file} could be of the splits {' and '.join(splits)}; rename it.")
        unused += not splits
        for split in splits:
            files_of[split].append(str(file))
    for split in wanted:
        if not files_of[split]:
            raise ValueError(
                f"No file of path={source.location} is of the split {split!r}: its name, or that of a folder, must be "
                f"{split} or {split}-00000...; the first file is {files[0]}."
            )
    if unused:
        log.info("%s: %d of %d files are of other splits.", source.location, unused, len(files))
    return files_of


def _line(error: BaseException) -> str:
    """Return the message of an error in one line, without its last full stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
