"""Measure time and memory of the index of ImageNet's images, beside torchvision's ImageFolder.

python benchmarks/measure/index.py [--train 1281167] [--workers 4] [--out FILE.md] [--tree FOLDER]

The command makes a tree like ImageNet's (torchvision's layout: 1,000 classes, 50,000 test images with boxes in
LOC_val_solution.csv, ImageNetV2 with the field's metadata) of hard links to small JPEGs, and reads it in separate
processes: for the first time, then from the cache, then with loader processes that read images of train. It reads the
same tree with torchvision's ImageFolder, which keeps a Python list of the training images and reads no boxes.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from timm.data import ImageNetInfo
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure.harness import command_of, make_parser, markdown, measure_apart, process_mib, publish

_CLASSES = 1000
_SOURCES = 50  # files that all links point to: a file system allows some ten thousand links to each
_LOADED = 4000  # images that loader processes read


def make_tree(root: Path, train: int, val: int, test: int) -> None:
    """Write the tree as hard links, which need room for their names alone."""
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
    long_ago = time.time() - 3600  # files that changed just now are not cached
    for path in walk(images):
        os.utime(path, (long_ago, long_ago))


def walk(folder: Path) -> Iterator[Path]:
    """Yield a folder, the folders below it, and their text files."""
    yield folder
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from walk(Path(entry))
        elif entry.name.endswith((".txt", ".csv")):
            yield Path(entry)


def measure(reader: str, root: Path, workers: int) -> dict[str, Any]:
    """Read the tree in this process, then load images with a number of loader processes, and return the cost."""
    from torch.utils.data import DataLoader

    if reader == "ours":
        from wsol.data.readers.imagenet import imagenet

        before = peak_mib()
        start = time.perf_counter()
        splits = imagenet(root, image_size=32, train_size=32, max_cache_gib=0)
        fingerprint = splits.fingerprint
        seconds = time.perf_counter() - start
        cost: dict[str, Any] = {"images": len(splits.train), "fingerprint": fingerprint}
        dataset: Any = splits.train
    else:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2

        import wsol.data.readers.imagenet  # noqa: F401  so that the same libraries are in memory

        before = peak_mib()
        start = time.perf_counter()
        dataset = ImageFolder(str(root / "train"), v2.Resize((32, 32)))
        seconds = time.perf_counter() - start
        cost = {"images": len(dataset)}
    # RssAnon leaves out what is mapped from files, as the code of libraries is.
    cost |= {"seconds": seconds, "before": before, "peak": peak_mib(), "anonymous": process_mib("RssAnon")}
    if workers:
        warnings.filterwarnings("ignore", "This DataLoader will create")  # on a machine with fewer processors
        shown = np.random.default_rng(0).permutation(len(dataset)).tolist()
        loader = DataLoader(dataset, batch_size=50, sampler=shown, num_workers=workers, collate_fn=len)
        batches = iter(loader)
        for _ in range(_LOADED // 50):
            next(batches)
        pids = [process.pid for process in multiprocessing.active_children() if process.pid]
        private = [process_mib("Private_", f"/proc/{pid}/smaps_rollup") for pid in pids]
        cost |= {"private": sum(private) / len(pids), "parent": peak_mib()}
        del batches
    return cost


def peak_mib() -> float:
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table_of(root: Path, workers: int) -> str:
    """Measure all readers, each in a fresh process, and return a Markdown table."""
    with tempfile.TemporaryDirectory() as cache:

        def apart(reader: str, workers: int = 0) -> dict[str, Any]:
            task = {"reader": reader, "root": str(root), "workers": workers}
            return measure_apart(__file__, task, {"WSOL_CACHE": cache})

        first = apart("ours")
        later, folders = [apart("ours") for _ in range(3)], [apart("ImageFolder") for _ in range(3)]
        ours, peer = apart("ours", workers), apart("ImageFolder", workers)
    assert len({cost["fingerprint"] for cost in (first, *later, ours)}) == 1, "two readings differ"
    seconds = [sorted(cost["seconds"] for cost in costs)[1] for costs in (later, folders)]
    rows = [
        ["first time, s", f"{first['seconds']:.2f}", f"{folders[0]['seconds']:.2f}"],
        ["afterwards, s (median of 3)", *(f"{median:.2f}" for median in seconds)],
        ["memory it adds to the process, MiB", *(f"{cost['peak'] - cost['before']:.0f}" for cost in (later[0], peer))],
        ["the libraries before, MiB", f"{ours['before']:.0f}", f"{peer['before']:.0f}"],
        [
            "process after reading, without what is mapped from files, MiB",
            *(f"{cost['anonymous']:.0f}" for cost in (ours, peer)),
        ],
        [f"process in all, with {workers} loader processes, MiB", f"{ours['parent']:.0f}", f"{peer['parent']:.0f}"],
        ["memory of its own in each loader process, MiB", f"{ours['private']:.0f}", f"{peer['private']:.0f}"],
    ]
    headers = [f"{first['images']:,} training images", "ours", "ImageFolder"]
    return markdown(rows, headers)


def main() -> None:
    """Measure, print and write the table."""
    parser = make_parser(__doc__, "results/measure/index.md")
    parser.add_argument("--train", type=int, default=1_281_167, help="number of training images")
    parser.add_argument("--workers", type=int, default=4, help="number of loader processes")
    parser.add_argument("--tree", type=Path, help="an existing tree; otherwise one is made and removed")
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure["reader"], Path(asked.measure["root"]), asked.measure["workers"])))
        return
    least = _LOADED + 50  # loader processes end with the last batch, before their memory could be read
    if (asked.tree is None and asked.train < least) or asked.workers < 1:
        parser.error(f"--train must be at least {least} and --workers at least 1, got {asked.train}, {asked.workers}.")
    with tempfile.TemporaryDirectory() as made:
        if asked.tree is None:
            make_tree(Path(made), asked.train, 10_000, 50_000)
        table = table_of(asked.tree or Path(made) / "imagenet", asked.workers)
    notes = [
        "Ours reads the images and boxes of train, val and test, and makes the fingerprint that names a run; "
        "ImageFolder lists train alone. The file system's cache contained the tree each time, also the first time.",
        f"Loader processes were forked and had read {_LOADED:,} images together. Memory of its own: what a process "
        "shares with no other process, the mean over processes.",
        f"{os.cpu_count()} processors.",
    ]
    tree = {"--tree": lambda word: Path(word).name}
    publish([table], notes, asked.out, command_of(__file__, sys.argv[1:], tree))


if __name__ == "__main__":
    main()
