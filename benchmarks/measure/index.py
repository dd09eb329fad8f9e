"""What it costs to know the images of ImageNet: time and memory of the index, beside torchvision's ImageFolder.

python benchmarks/measure/index.py [--train 1281167] [--workers 4] [--out FILE.md] [--tree FOLDER]

Lays out a tree like ImageNet's (torchvision's layout: 1,000 classes, 50,000 test images with boxes in
LOC_val_solution.csv, ImageNetV2 with the field's metadata) of hard links to small JPEGs, and reads it in processes
of their own: for the first time, then from the cache; then with loader processes that go through images of train. The
same with torchvision's ImageFolder, which keeps a Python list of the training images and knows no boxes.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tabulate import tabulate
from timm.data import ImageNetInfo
from tqdm import tqdm

from wsol.atomic_files import write_text
from wsol.versions import commit, versions

_CLASSES = 1000
_SOURCES = 50  # files that are linked to: a file system allows some ten thousand links to each
_LOADED = 4000  # images that loader processes go through


def make_tree(root: Path, train: int, val: int, test: int) -> None:
    """Write the tree; a file system needs room for the names alone."""
    generator = np.random.default_rng(0)
    sources = root / "sources"
    sources.mkdir(parents=True)
    for number in range(_SOURCES):
        pixels = generator.integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(sources / f"{number}.jpg", quality=75)
    images = root / "imagenet"
    wnids = ImageNetInfo("imagenet-1k").label_names()
    with tqdm(total=train + val + test, desc="laying out the tree", unit="file", disable=None, leave=False) as bar:
        for number, wnid in enumerate(wnids):
            folder = images / "train" / wnid
            folder.mkdir(parents=True)
            count = train // _CLASSES + (number < train % _CLASSES)
            for index in range(count):
                os.link(sources / f"{(number + index) % _SOURCES}.jpg", folder / f"{wnid}_{index}.JPEG")
            bar.update(count)
        (images / "val").mkdir()
        lines = ["ImageId,PredictionString"]
        for index in range(test):
            wnid, name = wnids[index % _CLASSES], f"ILSVRC2012_val_{index + 1:08d}"
            os.link(sources / f"{index % _SOURCES}.jpg", images / "val" / f"{name}.JPEG")
            lines.append(f"{name},{wnid} 5 6 40 41 " + (f"{wnid} 10 10 60 40 " if index % 5 == 0 else ""))
        (images / "LOC_val_solution.csv").write_text("\n".join(lines) + "\n")
        bar.update(test)
        metadata: dict[str, list[str]] = {"image_ids": [], "class_labels": [], "image_sizes": [], "localization": []}
        for index in range(val):
            class_id = index % _CLASSES
            image_id = f"val2/{class_id}/{index // _CLASSES}.jpeg"
            path = images / "imagenetv2-threshold0.7" / image_id.removeprefix("val2/")
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(sources / f"{index % _SOURCES}.jpg", path)
            metadata["image_ids"].append(image_id)
            metadata["class_labels"].append(f"{image_id},{class_id}")
            metadata["image_sizes"].append(f"{image_id},64,48")
            metadata["localization"].append(f"{image_id},5,6,40,41")
        bar.update(val)
    folder = images / "metadata" / "ILSVRC" / "val"
    folder.mkdir(parents=True)
    for name, texts in metadata.items():
        (folder / f"{name}.txt").write_text("\n".join(texts) + "\n")
    long_ago = time.time() - 3600  # what has just changed is not cached yet
    for path in walk(images):
        os.utime(path, (long_ago, long_ago))


def walk(folder: Path) -> Iterator[Path]:
    """A folder, the folders below it, and its text files."""
    yield folder
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from walk(Path(entry))
        elif entry.name.endswith((".txt", ".csv")):
            yield Path(entry)


def private_mib(pid: int) -> float:
    """Memory that a process shares with no other, on Linux."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def anonymous_mib() -> float:
    """Memory of this process that is not mapped from files, as the code of libraries is, on Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def measure(reader: str, root: Path, workers: int) -> dict[str, Any]:
    """In a process of its own: read, then load with so many processes; what that took."""
    from torch.utils.data import DataLoader

    if reader == "ours":
        from wsol.data.readers.imagenet import imagenet

        before = peak_mib()
        start = time.perf_counter()
        splits = imagenet(root, image_size=32, train_size=32, max_cache_gib=0)
        fingerprint = splits.fingerprint
        seconds = time.perf_counter() - start
        found: dict[str, Any] = {"images": len(splits.train), "fingerprint": fingerprint}
        dataset: Any = splits.train
    else:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2

        import wsol.data.readers.imagenet  # noqa: F401  the same libraries in memory

        before = peak_mib()
        start = time.perf_counter()
        dataset = ImageFolder(str(root / "train"), v2.Resize((32, 32)))
        seconds = time.perf_counter() - start
        found = {"images": len(dataset)}
    found |= {"seconds": seconds, "before": before, "peak": peak_mib(), "anonymous": anonymous_mib()}
    if workers:
        warnings.filterwarnings("ignore", "This DataLoader will create")  # on a machine with fewer processors
        shown = np.random.default_rng(0).permutation(len(dataset)).tolist()
        loader = DataLoader(dataset, batch_size=50, sampler=shown, num_workers=workers, collate_fn=len)
        batches = iter(loader)
        for _ in range(_LOADED // 50):
            next(batches)
        pids = [process.pid for process in multiprocessing.active_children() if process.pid]
        found |= {"private": sum(private_mib(pid) for pid in pids) / len(pids), "parent": peak_mib()}
        del batches
    return found


def peak_mib() -> float:
    """The largest memory that this process has taken."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_apart(reader: str, root: Path, cache: Path, workers: int = 0) -> dict[str, Any]:
    """`measure` in a fresh process.

    Raises:
        subprocess.CalledProcessError: if it failed; what it said stands above.
    """
    command = [sys.executable, __file__, "--measure", reader, "--tree", str(root), "--workers", str(workers)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, env={**os.environ, "WSOL_CACHE": str(cache)}, text=True
    )
    return json.loads(done.stdout)


def table_of(root: Path, workers: int) -> str:
    """Measure all, as a Markdown table."""
    with tempfile.TemporaryDirectory() as cache:
        first = run_apart("ours", root, Path(cache))
        later = [run_apart("ours", root, Path(cache)) for _ in range(3)]
        folders = [run_apart("ImageFolder", root, Path(cache)) for _ in range(3)]
        ours = run_apart("ours", root, Path(cache), workers)
        peer = run_apart("ImageFolder", root, Path(cache), workers)
    assert len({one["fingerprint"] for one in (first, *later, ours)}) == 1, "two readings differ"
    seconds = sorted(one["seconds"] for one in later)[1], sorted(one["seconds"] for one in folders)[1]
    rows = [
        ["first time, s", f"{first['seconds']:.2f}", f"{folders[0]['seconds']:.2f}"],
        ["afterwards, s (median of 3)", f"{seconds[0]:.2f}", f"{seconds[1]:.2f}"],
        ["memory it adds to the process, MiB", *(f"{one['peak'] - one['before']:.0f}" for one in (later[0], peer))],
        ["the libraries before, MiB", f"{ours['before']:.0f}", f"{peer['before']:.0f}"],
        [
            "process after reading, without what is mapped from files, MiB",
            *(f"{one['anonymous']:.0f}" for one in (ours, peer)),
        ],
        [f"process in all, with {workers} loader processes, MiB", f"{ours['parent']:.0f}", f"{peer['parent']:.0f}"],
        ["memory of its own in each loader process, MiB", f"{ours['private']:.0f}", f"{peer['private']:.0f}"],
    ]
    headers = [f"{first['images']:,} training images", "ours", "ImageFolder"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=1_281_167)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("results/measure/index.md"))
    parser.add_argument("--tree", type=Path, help="a tree that is there already; otherwise one is made and removed")
    parser.add_argument("--measure", choices=["ours", "ImageFolder"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure, asked.tree, asked.workers)))
        return 0
    with tempfile.TemporaryDirectory() as made:
        if asked.tree is None:
            make_tree(Path(made), asked.train, 10_000, 50_000)
        table = table_of(asked.tree or Path(made) / "imagenet", asked.workers)
    notes = [
        "Ours reads the images and boxes of train, val and test, and makes the fingerprint that names a run; "
        "ImageFolder lists train alone. The file system's own memory held the tree each time, also at the first.",
        f"Loader processes were forked and had gone through {_LOADED:,} images together. Memory of its own: what a "
        "process shares with no other, in the mean.",
        f"{os.cpu_count()} processors. Command: `{shlex.join(['python', *sys.argv])}`. Code: `{commit()}`. "
        f"Versions: {', '.join(f'{name} {version}' for name, version in versions().items())}.",
    ]
    text = table + "\n\n" + "".join(f"- {note}\n" for note in notes)
    print(text)
    write_text(asked.out, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
