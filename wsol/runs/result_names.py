"""Give the tables, figures and pictures of comparisons names that people can read."""

from pathlib import Path

from filelock import FileLock

from wsol.atomic_files import file_name_part, read_json, write_json
from wsol.runs.folder import load_or_none

NAMES_FILE = "names.json"


def result_name(out: Path, group: str, name: str, key: str) -> str:
    """Return the path, without suffix, of the result files of a comparison: `cub-efficientnet_lite0/tight`.

    A second comparison that would have the same name gets `tight-2`, and so on. `names.json` keeps the comparison of
    each name, so that a name stays the same when the command runs again and never names another comparison.

    Args:
        out: the folder that holds `tables`, `figures` and `pictures`.
        group: the data set and the network.
        name: the protocol.
        key: the full name of the comparison and the protocol.

    Raises:
        ValueError: if a name cannot be part of a path.
    """
    file_name_part(group, "a folder of results")
    file_name_part(name, "a result file")
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / f".{NAMES_FILE}.lock"):
        names = load_or_none(out / NAMES_FILE, read_json) or {}
        if key not in names:
            taken = set(names.values())
            numbered = (f"{group}/{name}" if number == 1 else f"{group}/{name}-{number}" for number in range(1, 10**6))
            names[key] = next(candidate for candidate in numbered if candidate not in taken)
            write_json(out / NAMES_FILE, names)
    return "/".join(file_name_part(part, "a result file") for part in str(names[key]).split("/"))
