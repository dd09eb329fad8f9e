"""Classes of ImageNet-1k: their order, their names, and the labels of the official validation images."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from timm.data import ImageNetInfo

from wsol.data.formats.text_lines import Line, read_lines, read_table
from wsol.data.imagenet.files import read_members

_GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
_META = "data/meta.mat"
_LARGEST = 64 * 2**20  # both files are below 1 MiB


def imagenet_wnids() -> tuple[str, ...]:
    """Return the 1,000 wnids of ILSVRC, sorted, as are network outputs and the folders of ImageNetV2."""
    return tuple(_info().label_names())


def imagenet_class_names(wnids: Sequence[str], synset_mapping: Path | None = None) -> list[str]:
    """Return `wnid first-synonym` of each wnid.

    Args:
        wnids: of the 1,000.
        synset_mapping: Kaggle's LOC_synset_mapping.txt; None: the synonyms that come with timm, which are the same.

    Raises:
        ValueError: for a malformed line, naming it.
    """
    if synset_mapping is None:
        words = {wnid: _first_synonym(_info().label_name_to_description(wnid)) for wnid in wnids}
    else:
        words = read_table(read_lines(synset_mapping, 2, maxsplit=1), lambda line: _first_synonym(line.fields[1]))
    return [f"{wnid} {words[wnid]}" if wnid in words else wnid for wnid in wnids]


def devkit_labels(devkit: Path) -> list[str]:
    """Return the wnids of the official validation images, in the order of the numbers in their file names.

    Source: the readme.txt of the kit. The ids in its ground truth follow no order of wnids; only meta.mat has both.

    Args:
        devkit: the folder ILSVRC2012_devkit_t12, or its .tar.gz.

    Returns:
        V wnids, 50,000 of them; that of ILSVRC2012_val_00000001.JPEG is the first.

    Raises:
        FileNotFoundError: if a file of it is missing.
        ValueError: naming what is damaged or malformed, and the line.
    """
    path = devkit / _GROUND_TRUTH
    if devkit.is_dir():
        wnids = _read_meta(devkit / _META, str(devkit / _META))
        lines = list(read_lines(path, 1))
    else:
        texts = _members(devkit)
        wnids = _read_meta(io.BytesIO(texts[_META]), f"{devkit}, {_META}")
        numbered = enumerate(texts[_GROUND_TRUTH].decode("utf-8-sig", "replace").splitlines(), start=1)
        lines = [Line(path, number, text.split()) for number, text in numbered if text.strip()]
    if not lines:
        raise ValueError(f"{path} is empty; unpack the development kit again.")
    return [_wnid(line, wnids) for line in lines]


@cache
def _info() -> ImageNetInfo:
    return ImageNetInfo("imagenet-1k")  # reads the names of all 21,000 classes


def _first_synonym(words: str) -> str:
    return words.split(",")[0].strip()


def _wnid(line: Line, wnids: dict[str, str]) -> str:
    given = " ".join(line.fields)
    if given not in wnids:
        raise line.error(f"ILSVRC2012_ID {given!r} is not in meta.mat.")
    return wnids[given]


def _members(path: Path) -> dict[str, bytes]:
    """Return the two files inside the kit's archive, which is not unpacked."""
    wanted = (_META, _GROUND_TRUTH)
    members = read_members(path, lambda member: member.endswith(tuple(f"/{name}" for name in wanted)), _LARGEST)
    texts = {name: text for member, text in members for name in wanted if member.endswith(f"/{name}")}
    for name in wanted:
        if name not in texts:
            raise FileNotFoundError(f"{path} holds no {name}; download it again from https://image-net.org/download.")
    return texts


def _read_meta(file: Path | io.BytesIO, origin: str) -> dict[str, str]:
    """Return ILSVRC2012_ID -> wnid."""
    if isinstance(file, Path) and not file.is_file():
        raise FileNotFoundError(f"Annotation file {origin} is missing; unpack the development kit again.")
    try:
        synsets = np.atleast_1d(loadmat(file, squeeze_me=True, variable_names=["synsets"])["synsets"])
        return {str(int(synset["ILSVRC2012_ID"])): str(synset["WNID"]) for synset in synsets}
    # SciPy's parser raises whatever a damaged file leads it to.
    except Exception as error:
        raise ValueError(f"{origin} cannot be read ({error!r}); unpack the development kit again.") from None
