"""Refuse image files that are reached through a link out of the data set's folder."""

import os
from collections.abc import Iterable
from pathlib import Path

from wsol.data.image_set import ImageSet


def check_links(splits: Iterable[ImageSet], roots: Iterable[Path]) -> None:
    """Raise ValueError if an image or mask lies outside the data set's folders, by way of a symbolic link.

    A data set from somebody else could otherwise make this program read, and show, any image on the machine. A folder
    that the user names may itself be a link. Files that lie in none of the folders are passed over: readers refuse
    paths that leave their folder.

    Args:
        splits: images to check; each folder is listed once.
        roots: the folders, or files in them, that the user named.

    Raises:
        ValueError: naming the link, its target and how to allow it.
    """
    folders = {os.path.abspath(root if root.is_dir() else root.parent) for root in roots}
    real = {folder: os.path.realpath(folder) for folder in folders}
    names: dict[str, set[str]] = {}
    for images in splits:
        entries = images.entries
        for path in entries.paths:
            folder, name = os.path.split(os.path.join(entries.folder, path))
            names.setdefault(folder, set()).add(name)
        for rest in entries.rest or ():
            for mask in (*rest.mask_paths, *([rest.ignore_path] if rest.ignore_path else [])):
                names.setdefault(str(mask.parent), set()).add(mask.name)
    for folder, files in names.items():
        place = os.path.abspath(folder)
        root = max((root for root in folders if f"{place}/".startswith(f"{root.rstrip('/')}/")), key=len, default=None)
        if root is None:
            continue
        _check(Path(place), real[root], root)
        try:
            with os.scandir(place) as entries_there:
                links = [entry.path for entry in entries_there if entry.name in files and entry.is_symlink()]
        except OSError:
            continue  # reading the image reports what is wrong
        for link in links:
            _check(Path(link), real[root], root)


def _check(path: Path, real_root: str, root: str) -> None:
    target = os.path.realpath(path)
    if os.path.commonpath([target, real_root]) != real_root:
        raise ValueError(
            f"{path} is a link, or lies behind one, that leads out of {root}, to {target}. If you made it yourself, "
            "allow it with machine.follow_links=true."
        )
