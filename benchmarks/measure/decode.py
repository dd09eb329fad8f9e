"""How many images a second one core reads and resizes, by decoder, and how far each is from what Pillow gives.

python benchmarks/measure/decode.py [--images FOLDER] [--count 60] [--rounds 5] [--sizes 256 224 112] [--out FILE.md]

FOLDER holds JPEGs, in folders or not, of which COUNT are drawn; without it, birds of 500 x 375 are drawn with noise
like that of photographs. All decoders read the same files in turn in each round, on one core and one thread. What is
not installed is left out: pip install opencv-python-headless simplejpeg torchcodec.
"""

import argparse
import functools
import importlib.metadata
import os
import random
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image, ImageOps, features
from tabulate import tabulate
from torch import Tensor
from torchvision.transforms.v2 import functional
from tqdm import tqdm

from wsol.atomic_files import write_text
from wsol.data.birds.drawing import draw
from wsol.data.birds.world import BirdSettings, species_colors
from wsol.data.decode import read_image, read_reduced, read_size
from wsol.data.sample import Sample, resize_sample
from wsol.geometry import Size
from wsol.versions import commit, versions

try:
    import cv2
except ImportError:
    cv2 = None  # type: ignore[assignment]

EPOCH = 1_281_167  # images
Pixels = NDArray[np.uint8]  # (H, W, 3), RGB


@dataclass(frozen=True)
class Way:
    """A way from a file to an image of the size that a network reads.

    Attributes:
        name: for the table.
        decode: (path, the size that is wanted in the end) -> what `resize` takes.
        resize: (what was decoded, size) -> (H, W, 3) uint8.
        package: whose decoder it needs, if not Pillow's.
    """

    name: str
    decode: Callable[[Path, Size], Any]
    resize: Callable[[Any, Size], Pixels]
    package: str = ""


def pillow(path: Path, _: Size) -> Pixels:
    """As wsol reads images."""
    return read_image(path)


def pillow_resize(image: Pixels, size: Size) -> Pixels:
    """As wsol resizes them."""
    return resize_sample(Sample(image, 0, ""), size).image


def pillow_unconverted(path: Path, _: Size) -> Image.Image:
    """Decoded and upright, and no array yet."""
    with Image.open(path) as file:
        ImageOps.exif_transpose(file, in_place=True)
        return file if file.mode == "RGB" else file.convert("RGB")


def pillow_unconverted_resize(image: Image.Image, size: Size) -> Pixels:
    """The array is made of the small image."""
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))


def torchvision_decode(path: Path, _: Size = (0, 0)) -> Tensor:
    """(3, H, W)."""
    content = torch.from_numpy(np.fromfile(path, np.uint8))
    image: Tensor = torchvision.io.decode_jpeg(content, torchvision.io.ImageReadMode.RGB)
    return image


def torchvision_resize(image: Tensor, size: Size) -> Pixels:
    """Of (3, H, W) uint8, antialiased."""
    return as_array(functional.resize(image, list(size), antialias=True))


def torchcodec_decode(path: Path, _: Size = (0, 0)) -> Tensor:
    """(3, H, W)."""
    from torchcodec.decoders import decode_jpeg  # type: ignore[import-not-found]

    image: Tensor = decode_jpeg(path.read_bytes())
    return image


def simplejpeg_decode(path: Path, _: Size = (0, 0)) -> Pixels:
    """libjpeg-turbo's own interface."""
    import simplejpeg  # type: ignore[import-not-found]

    image: Pixels = simplejpeg.decode_jpeg(path.read_bytes())
    return image


def opencv_decode(path: Path, _: Size = (0, 0), reduced: bool = False) -> Pixels:
    """Reduced: always at 1/2, even where that is smaller than what is wanted."""
    flag = cv2.IMREAD_REDUCED_COLOR_2 if reduced else cv2.IMREAD_COLOR
    decoded = cv2.imdecode(np.fromfile(path, np.uint8), flag)
    if decoded is None:
        raise ValueError("OpenCV cannot decode it.")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def opencv_resize(image: Pixels, size: Size) -> Pixels:
    """Means over areas."""
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def as_array(image: Tensor | Image.Image | Pixels) -> Pixels:
    """(H, W, 3), of whatever was decoded."""
    return image.permute(1, 2, 0).numpy() if isinstance(image, Tensor) else np.asarray(image)


OURS = Way("Pillow, Pillow: as wsol reads", pillow, pillow_resize)
WAYS = [
    OURS,
    Way("Pillow reduced (read_reduced), Pillow", lambda path, size: read_reduced(path, size)[0], pillow_resize),
    Way("Pillow, Pillow with no array between", pillow_unconverted, pillow_unconverted_resize),
    Way("Pillow, torchvision", lambda path, _: torch.from_numpy(read_image(path).copy()).permute(2, 0, 1),
        torchvision_resize),
    Way("torchvision, Pillow", lambda path, _: as_array(torchvision_decode(path)), pillow_resize, "torchvision"),
    Way("torchvision, torchvision", torchvision_decode, torchvision_resize, "torchvision"),
    Way("torchcodec, Pillow", lambda path, _: as_array(torchcodec_decode(path)), pillow_resize, "torchcodec"),
    Way("simplejpeg, Pillow", simplejpeg_decode, pillow_resize, "simplejpeg"),
    Way("OpenCV, Pillow", opencv_decode, pillow_resize, "cv2"),
    Way("OpenCV, OpenCV by area", opencv_decode, opencv_resize, "cv2"),
    Way("OpenCV at 1/2, OpenCV by area", functools.partial(opencv_decode, reduced=True), opencv_resize, "cv2"),
]  # fmt: skip
DECODERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "torchvision": (torchvision_decode, "torchvision"),
    "torchcodec": (torchcodec_decode, "torchcodec"),
    "simplejpeg": (simplejpeg_decode, "simplejpeg"),
    "OpenCV": (opencv_decode, "cv2"),
}
DISTRIBUTIONS = {
    "torchcodec": "torchcodec",
    "simplejpeg": "simplejpeg",
    "cv2": "opencv-python-headless",
}  # beyond wsol's


@functools.cache
def works(package: str) -> bool:
    """Whether a decoder is there and loads: torchcodec asks for one version of torch, torchvision may lose its own."""
    if package in ("", "torchvision"):
        return not package or hasattr(torchvision.io, "decode_jpeg")
    try:
        importlib.import_module("torchcodec.decoders" if package == "torchcodec" else package)
    except (ImportError, OSError, RuntimeError):
        return False
    return True


@contextmanager
def one_core() -> Iterator[None]:
    """One core and one thread for what runs inside."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    threads = torch.get_num_threads(), cv2.getNumThreads() if cv2 else 0
    torch.set_num_threads(1)
    if cv2:
        cv2.setNumThreads(1)
    if cores:
        os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads[0])
        if cv2:
            cv2.setNumThreads(threads[1])


def photographs(folder: Path, count: int) -> list[Path]:
    """So many JPEGs of a folder and the folders in it, drawn by a fixed seed."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise SystemExit(f"{folder} holds no JPEG; give a folder of photographs, or none.")
    return random.Random(0).sample(found, min(count, len(found)))


def generate(folder: Path, count: int) -> list[Path]:
    """Birds of 500 x 375 under noise whose power falls with the square of the frequency, as that of photographs."""
    settings = BirdSettings(image_size=500)
    colors, generator = species_colors(settings), np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(375)[:, None], np.fft.rfftfreq(500)[None]
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / 500)
    paths = []
    for place in tqdm(range(count), desc="drawing", leave=False, disable=None):
        bird = draw(settings, colors, place % settings.num_classes, generator).image[62:437]
        spectrum = np.fft.rfft2(generator.normal(size=(375, 500))) * amplitude
        noise = np.fft.irfft2(spectrum, s=(375, 500))
        image = bird + (noise * 20 / noise.std())[..., None] + generator.normal(0, 2, (375, 500, 3))
        paths.append(folder / f"{place}.jpg")
        pixels = np.rint(image).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(paths[-1], quality=90 + place % 6)
    return paths


def measure(ways: list[Way], paths: list[Path], size: Size, rounds: int) -> pd.DataFrame:
    """Seconds an image, to decode and in all: a row for each round and way, after a round that warms up."""
    rows = []
    for number in range(-1, rounds):
        for way in ways:
            decoding = whole = 0.0
            for path in paths:
                begun = time.perf_counter()
                decoded = way.decode(path, size)
                middle = time.perf_counter()
                way.resize(decoded, size)
                whole += time.perf_counter() - begun
                decoding += middle - begun
            if number >= 0:
                seconds = {"decode": decoding / len(paths), "whole": whole / len(paths)}
                rows.append({"round": number, "way": way.name, **seconds})
    return pd.DataFrame(rows)


class Difference:
    """How far pixels are from what they are compared with, over many images."""

    def __init__(self) -> None:
        self.equal = self.values = self.largest = 0
        self.total = 0.0
        self.decoded = self.original = 0  # pixels, where the sizes differ

    def add(self, pixels: Pixels, expected: Pixels) -> None:
        """One image."""
        self.decoded += pixels.shape[0] * pixels.shape[1]
        self.original += expected.shape[0] * expected.shape[1]
        if pixels.shape == expected.shape:
            difference = np.abs(pixels.astype(np.int16) - expected)
            self.equal += int((difference == 0).sum())
            self.values += difference.size
            self.largest = max(self.largest, int(difference.max()))
            self.total += float(difference.sum())

    @property
    def none(self) -> bool:
        """Whether everything is equal."""
        return self.equal == 3 * self.original

    def __str__(self) -> str:
        if self.none:
            return "equal"
        if not self.values or self.decoded != self.original:
            return f"{self.decoded / self.original:.0%} of the pixels"
        return f"{self.equal / self.values:.1%}, {self.largest}, {self.total / self.values:.3f}"


def differences(way: Way, paths: list[Path], size: Size) -> tuple[Difference, Difference]:
    """From what wsol reads: as decoded, and once resized."""
    decoded, resized = Difference(), Difference()
    for path in paths:
        expected, found = read_image(path), way.decode(path, size)
        decoded.add(as_array(found), expected)
        resized.add(way.resize(found, size), pillow_resize(expected, size))
    return decoded, resized


def table_of(ways: list[Way], paths: list[Path], sides: list[int], rounds: int) -> tuple[pd.DataFrame, dict[str, bool]]:
    """A row for each size and way; and whether all a way's pixels are equal to ours at all sizes."""
    rows, exact = [], dict.fromkeys((way.name for way in ways), True)
    for side in tqdm(sides, desc="sizes", leave=False, disable=None):
        times = measure(ways, paths, (side, side), rounds).set_index(["round", "way"])
        ours = times["whole"].xs(OURS.name, level="way")
        for way in ways:
            taken = times.xs(way.name, level="way")
            rate = 1 / taken["whole"]
            decoded, resized = differences(way, paths, (side, side))
            exact[way.name] &= decoded.none and resized.none
            rows.append(
                {
                    "size": side,
                    "decoder, resize": way.name,
                    "images/s": f"{rate.median():.0f}",
                    "lowest to highest": f"{rate.min():.0f} to {rate.max():.0f}",
                    "times ours": (ours / taken["whole"]).median(),
                    "decoded only, images/s": f"{(1 / taken['decode']).median():.0f}",
                    "decoded pixels": str(decoded),
                    "resized pixels": str(resized),
                }
            )
    return pd.DataFrame(rows), exact


def kinds(folder: Path) -> Iterator[tuple[str, Path]]:
    """JPEGs of every kind, with odd sides and with sides below one block."""
    bird = draw(BirdSettings(image_size=128), species_colors(BirdSettings()), 0, np.random.default_rng(0)).image
    noise = np.random.default_rng(1).normal(0, 20, bird.shape)
    pixels = np.rint(bird + noise).clip(0, 255).astype(np.uint8)
    samplings = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
    options: dict[str, tuple[str, dict[str, Any]]] = {
        **{f"colour, {name}": ("RGB", {"subsampling": value}) for name, value in samplings.items()},
        "colour, stored as RGB": ("RGB", {"keep_rgb": True}),
        "gray": ("L", {}),
        **{f"CMYK, {name}": ("CMYK", {"subsampling": value}) for name, value in samplings.items()},
    }
    for kind, (mode, saved) in options.items():
        for progressive in (False, True):
            for height, width in ((117, 93), (17, 9), (3, 2), (1, 1)):
                path = folder / f"{kind}-{progressive}-{height}.jpg".replace(":", "")
                image = Image.fromarray(pixels[:height, :width]).convert(mode)
                image.save(path, "jpeg", quality=92, progressive=progressive, **saved)
                yield f"{kind}, {'progressive' if progressive else 'sequential'}", path
    if cv2:
        for kind, factor in {"4:4:0": 0x121111, "4:1:1": 0x411111}.items():  # Pillow writes neither
            for height, width in ((117, 93), (17, 9), (3, 2)):
                path = folder / f"{kind}-{height}.jpg".replace(":", "")
                cv2.imwrite(str(path), pixels[:height, :width], [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])
                yield f"colour, {kind}, sequential", path


def equality(decoders: dict[str, Callable[[Path], Any]], folder: Path) -> pd.DataFrame:
    """A row for each kind of JPEG: what each decoder makes of it beside `read_image`."""
    found: dict[str, dict[str, list[str]]] = {}
    for kind, path in kinds(folder):
        row = found.setdefault(kind, {name: [] for name in decoders})
        for name, decode in decoders.items():
            try:
                difference = Difference()
                difference.add(as_array(decode(path)), read_image(path))
                row[name].append("equal" if difference.none else f"up to {difference.largest}")
            except (ValueError, RuntimeError) as error:
                row[name].append(type(error).__name__)
    return pd.DataFrame(
        [
            {"JPEG": kind, **{name: ", ".join(dict.fromkeys(outcomes)) for name, outcomes in row.items()}}
            for kind, row in found.items()
        ]
    )


def fastest_exact(table: pd.DataFrame, names: list[str]) -> str:
    """At each size the fastest of these ways, and how many times as fast as ours."""
    told = []
    for side, rows in table[table["decoder, resize"].isin(names)].groupby("size", sort=False):
        best = rows.sort_values("times ours").iloc[-1]
        told.append(f"{best['decoder, resize']} {best['times ours']:.2f} at {side}")
    return "; ".join(told) or "none"


def command_of(words: list[str]) -> str:
    """What was typed; but where the data lie is their owner's business."""
    shown = ["python", "benchmarks/measure/decode.py"]
    for before, word in zip(["", *words], words, strict=False):
        if word.startswith("--images="):
            shown += ["--images", data_name(word.removeprefix("--images="))]
        else:
            kept = Path(word).name if before == "--out" and Path(word).is_absolute() else word
            shown.append(data_name(word) if before == "--images" else kept)
    return shlex.join(shown)


def data_name(folder: str) -> str:
    """The folder and the one it lies in, below DATA."""
    return "/".join(["DATA", *Path(folder).resolve().parts[1:][-2:]])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--images", type=Path, help="a folder of JPEGs; none: birds are drawn")
    parser.add_argument("--count", type=int, default=60, help="images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 224, 112], help="sides to resize to, in pixels")
    parser.add_argument("--out", type=Path, help="where to write the tables as Markdown")
    asked = parser.parse_args()
    if min(asked.count, asked.rounds, *asked.sizes) < 1:
        parser.error("--count, --rounds and --sizes must be at least 1.")
    ways = [way for way in WAYS if works(way.package)]
    decoders = {name: decode for name, (decode, package) in DECODERS.items() if works(package)}
    with tempfile.TemporaryDirectory() as folder, one_core(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision: that its decoders will go
        paths = photographs(asked.images, asked.count) if asked.images else generate(Path(folder), asked.count)
        table, exact = table_of(ways, paths, asked.sizes, asked.rounds)
        same = equality(decoders, Path(folder))
        height, width = np.median([read_size(path) for path in paths], axis=0)
        kib = sum(path.stat().st_size for path in paths) / len(paths) / 1024
    same_pixels = [name for name, equal in exact.items() if equal and name != OURS.name]
    required = {way.name: way.package in ("", "torchvision") for way in ways}
    text = "\n\n".join(
        tabulate(rows.to_numpy().tolist(), rows.columns.tolist(), tablefmt="github", floatfmt=".2f")
        for rows in (table, same)
    )
    minutes = EPOCH / float(table["images/s"].iloc[0]) / 60
    missing = [DISTRIBUTIONS[package] for package in DISTRIBUTIONS if not works(package)]
    notes = [
        f"{len(paths)} {'photographs' if asked.images else 'generated birds'}, median {width:.0f} x {height:.0f}, mean "
        f"{kib:.0f} KiB, from the file to a square uint8 array; one core, one thread, files in the page cache. Medians "
        f"over {asked.rounds} rounds, all ways in turn in each; times ours: the median of the ratios within a round.",
        f"{EPOCH:,} images, the training set of ILSVRC, take {minutes:.0f} minutes of one core, as wsol reads and at "
        f"{asked.sizes[0]} px.",
        "Pixels: beside `read_image` and `resize_sample`; where they differ, the share of equal values, the largest "
        "difference and the mean one, in gray levels of 255. The rows that begin with torchvision, torchcodec or "
        "simplejpeg do not turn an image as its EXIF says.",
        "Equal to ours in all pixels, decoded and resized, at all sizes, and fastest, as times ours: with what wsol "
        f"requires, {fastest_exact(table, [name for name in same_pixels if required[name]])}; of all, "
        f"{fastest_exact(table, same_pixels)}.",
        "`read_image` keeps Pillow: torchvision 0.29 deprecates its decoders and announces that they will be removed; "
        "simplejpeg and OpenCV are no requirements of wsol, and differ on CMYK, as the second table shows.",
        "Reduced decoding never falls below the size asked for, so an image with a side under twice that is decoded in "
        "full: at 500 x 375 nothing is gained for 256 or 224. OpenCV at 1/2 does fall below it. Neither gives the "
        "pixels of the full path, so `read_reduced` is an option and no default.",
        "Second table: JPEGs of 117 x 93, 17 x 9, 3 x 2 and 1 x 1, each decoder beside `read_image`.",
        "Left out: jpeg4py (last release 2018); PyTurboJPEG, which brings no libjpeg-turbo with it; pillow-simd, which "
        "has to be built from source, takes Pillow's place under the same name, and so cannot be timed beside it; its "
        "releases follow Pillow's (12.1.1 in September 2026, beside Pillow 13.0.0).",
        *(["Not installed, or not loading, and so left out: " + ", ".join(missing) + "."] if missing else []),
        f"Command: `{command_of(sys.argv[1:])}`. Code: `{commit()}`.",
    ]
    packages = {**versions(), "libjpeg-turbo of Pillow": str(features.version("libjpeg_turbo"))}
    packages |= {name: importlib.metadata.version(name) for package, name in DISTRIBUTIONS.items() if works(package)}
    notes.append("Versions: " + ", ".join(f"{package} {version}" for package, version in packages.items()) + ".")
    text += "\n\n" + "".join(f"- {note}\n" for note in notes)
    print(text)
    if asked.out:
        write_text(asked.out, text)


if __name__ == "__main__":
    main()
