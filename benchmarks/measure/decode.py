"""Measure how many images a second one core decodes and resizes, by decoder, and how the pixels differ from Pillow's.

python benchmarks/measure/decode.py [--images FOLDER] [--count 60] [--rounds 5] [--sizes 256 224 112] [--out FILE.md]

COUNT JPEGs are drawn at random from FOLDER and its subfolders; without FOLDER, the command draws birds of 500 x 375
with noise like that of photographs. All decoders read the same files in turn in each round, on one core and one thread.
Packages that are not installed are left out: pip install opencv-python-headless simplejpeg torchcodec.
"""

import functools
import importlib
import os
import random
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
from torch import Tensor
from torchvision.transforms.v2 import functional
from tqdm import tqdm

from wsol.data.birds.drawing import draw
from wsol.data.birds.world import BirdSettings, species_colors
from wsol.data.decode import read_image, read_reduced, read_size
from wsol.data.sample import Sample, resize_sample
from wsol.geometry import Size

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure.harness import command_of, in_turn, make_parser, markdown, publish, version_of

try:
    import cv2
except ImportError:
    cv2 = None  # type: ignore[assignment]

EPOCH = 1_281_167  # images of the training set of ILSVRC
Pixels = NDArray[np.uint8]  # (H, W, 3), RGB


@dataclass(frozen=True)
class Way:
    """A way from a file to an image of the size that a network reads.

    Attributes:
        name: name in the table.
        decode: (path, size of the result) -> the input of `resize`.
        resize: (decoded image, size) -> (H, W, 3) uint8.
        package: the package of the decoder, if not Pillow.
    """

    name: str
    decode: Callable[[Path, Size], Any]
    resize: Callable[[Any, Size], Pixels]
    package: str = ""


def pillow(path: Path, _: Size) -> Pixels:
    """Decode an image as wsol does."""
    return read_image(path)


def pillow_resize(image: Pixels, size: Size) -> Pixels:
    """Resize an image as wsol does."""
    return resize_sample(Sample(image, 0, ""), size).image


def pillow_unconverted(path: Path, _: Size) -> Image.Image:
    """Decode and rotate an image without converting it to an array."""
    with Image.open(path) as file:
        ImageOps.exif_transpose(file, in_place=True)
        return file if file.mode == "RGB" else file.convert("RGB")


def pillow_unconverted_resize(image: Image.Image, size: Size) -> Pixels:
    """Resize an image, and convert the small image to an array."""
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))


def torchvision_decode(path: Path, _: Size = (0, 0)) -> Tensor:
    """Decode an image to (3, H, W) uint8."""
    content = torch.from_numpy(np.fromfile(path, np.uint8))
    image: Tensor = torchvision.io.decode_jpeg(content, torchvision.io.ImageReadMode.RGB)
    return image


def torchvision_resize(image: Tensor, size: Size) -> Pixels:
    """Resize (3, H, W) uint8 with antialiasing."""
    return as_array(functional.resize(image, list(size), antialias=True))


def torchcodec_decode(path: Path, _: Size = (0, 0)) -> Tensor:
    """Decode an image to (3, H, W) uint8."""
    from torchcodec.decoders import decode_jpeg  # type: ignore[import-not-found]

    image: Tensor = decode_jpeg(path.read_bytes())
    return image


def simplejpeg_decode(path: Path, _: Size = (0, 0)) -> Pixels:
    """Decode an image by libjpeg-turbo's own interface."""
    import simplejpeg  # type: ignore[import-not-found]

    image: Pixels = simplejpeg.decode_jpeg(path.read_bytes())
    return image


def opencv_decode(path: Path, _: Size = (0, 0), reduced: bool = False) -> Pixels:
    """Decode an image; with `reduced` always at 1/2, even if that is smaller than the result."""
    flag = cv2.IMREAD_REDUCED_COLOR_2 if reduced else cv2.IMREAD_COLOR
    decoded = cv2.imdecode(np.fromfile(path, np.uint8), flag)
    if decoded is None:
        raise ValueError(f"OpenCV cannot decode {path}.")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def opencv_resize(image: Pixels, size: Size) -> Pixels:
    """Resize an image by means over areas."""
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def as_array(image: Tensor | Image.Image | Pixels) -> Pixels:
    """Convert any decoded image to an array of (H, W, 3)."""
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
DISTRIBUTIONS = {  # packages that wsol does not require -> names to install
    "torchcodec": "torchcodec",
    "simplejpeg": "simplejpeg",
    "cv2": "opencv-python-headless",
}


@functools.cache
def works(package: str) -> bool:
    """Return whether a decoder can be loaded: torchcodec needs one version of torch, torchvision may lose its own."""
    if package in ("", "torchvision"):
        return not package or hasattr(torchvision.io, "decode_jpeg")
    try:
        importlib.import_module("torchcodec.decoders" if package == "torchcodec" else package)
    except (ImportError, OSError, RuntimeError):
        return False
    return True


@contextmanager
def one_core() -> Iterator[None]:
    """Run the body on one core and one thread."""
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
    """Draw a number of JPEGs from a folder and its subfolders by a fixed seed.

    Raises:
        SystemExit: if there is no JPEG.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise SystemExit(f"{folder} contains no JPEG. Pass --images with a folder of photographs, or leave it out.")
    return random.Random(0).sample(paths, min(count, len(paths)))


def generate(folder: Path, count: int) -> list[Path]:
    """Write birds of 500 x 375 with noise whose power falls with the square of the frequency, as in photographs."""
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


def seconds_per_image(way: Way, paths: list[Path], size: Size) -> tuple[float, float]:
    """Return the seconds per image for decoding, and for decoding and resizing."""
    decoding = whole = 0.0
    for path in paths:
        start = time.perf_counter()
        decoded = way.decode(path, size)
        middle = time.perf_counter()
        way.resize(decoded, size)
        whole += time.perf_counter() - start
        decoding += middle - start
    return decoding / len(paths), whole / len(paths)


class Difference:
    """Difference of pixels from the expected ones, over many images."""

    def __init__(self) -> None:
        self.equal = self.values = self.largest = 0
        self.total = 0.0
        self.decoded = self.original = 0  # numbers of pixels

    def add(self, pixels: Pixels, expected: Pixels) -> None:
        """Add one image."""
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
        """Whether all pixels are equal."""
        return self.equal == 3 * self.original

    def __str__(self) -> str:
        if self.none:
            return "equal"
        if not self.values or self.decoded != self.original:
            return f"{self.decoded / self.original:.0%} of the pixels"
        return f"{self.equal / self.values:.1%}, {self.largest}, {self.total / self.values:.3f}"


def differences(way: Way, paths: list[Path], size: Size) -> tuple[Difference, Difference]:
    """Return the differences from the pixels that wsol reads, as decoded and as resized."""
    decoded, resized = Difference(), Difference()
    for path in paths:
        expected, image = read_image(path), way.decode(path, size)
        decoded.add(as_array(image), expected)
        resized.add(way.resize(image, size), pillow_resize(expected, size))
    return decoded, resized


def table_of(ways: list[Way], paths: list[Path], sides: list[int], rounds: int) -> tuple[pd.DataFrame, dict[str, bool]]:
    """Return a row for each size and way, and whether all a way's pixels are equal to wsol's at all sizes."""
    rows, exact = [], dict.fromkeys((way.name for way in ways), True)
    for side in tqdm(sides, desc="sizes", leave=False, disable=None):
        size = (side, side)
        times = in_turn({way.name: functools.partial(seconds_per_image, way, paths, size) for way in ways}, rounds)
        for way in ways:
            decoding, whole = np.array(times[way.name]).T
            ours = np.array(times[OURS.name])[:, 1]
            decoded, resized = differences(way, paths, size)
            exact[way.name] &= decoded.none and resized.none
            rows.append(
                {
                    "size": side,
                    "decoder, resize": way.name,
                    "images/s": f"{np.median(1 / whole):.0f}",
                    "lowest to highest": f"{1 / whole.max():.0f} to {1 / whole.min():.0f}",
                    "times ours": np.median(ours / whole),
                    "decoded only, images/s": f"{np.median(1 / decoding):.0f}",
                    "decoded pixels": str(decoded),
                    "resized pixels": str(resized),
                }
            )
    return pd.DataFrame(rows), exact


def kinds(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write JPEGs of every kind, with odd sides and with sides below one block, and yield (kind, path)."""
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
    """Compare each decoder with `read_image`, in a row for each kind of JPEG."""
    outcomes_of: dict[str, dict[str, list[str]]] = {}
    for kind, path in kinds(folder):
        row = outcomes_of.setdefault(kind, {name: [] for name in decoders})
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
            for kind, row in outcomes_of.items()
        ]
    )


def fastest_exact(table: pd.DataFrame, names: list[str]) -> str:
    """Name the fastest of these ways at each size, with its speed over wsol's."""
    texts = []
    for side, rows in table[table["decoder, resize"].isin(names)].groupby("size", sort=False):
        best = rows.sort_values("times ours").iloc[-1]
        texts.append(f"{best['decoder, resize']} {best['times ours']:.2f} at {side}")
    return "; ".join(texts) or "none"


def data_name(folder: str) -> str:
    """Return the last two parts of a folder below DATA, which hides where the data are."""
    return "/".join(["DATA", *Path(folder).resolve().parts[1:][-2:]])


def main() -> None:
    """Measure, print and write the tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=Path, help="a folder of JPEGs; birds are drawn if there is none")
    parser.add_argument("--count", type=int, default=60, help="number of images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 224, 112], help="sides to resize to, in pixels")
    asked = parser.parse_args()
    if min(asked.count, asked.rounds, *asked.sizes) < 1:
        parser.error("--count, --rounds and --sizes must be at least 1.")
    ways = [way for way in WAYS if works(way.package)]
    decoders = {name: decode for name, (decode, package) in DECODERS.items() if works(package)}
    with tempfile.TemporaryDirectory() as folder, one_core(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision announces that it will remove its decoders
        paths = photographs(asked.images, asked.count) if asked.images else generate(Path(folder), asked.count)
        table, exact = table_of(ways, paths, asked.sizes, asked.rounds)
        same = equality(decoders, Path(folder))
        height, width = np.median([read_size(path) for path in paths], axis=0)
        kib = sum(path.stat().st_size for path in paths) / len(paths) / 1024
    same_pixels = [name for name, equal in exact.items() if equal and name != OURS.name]
    required = {way.name: way.package in ("", "torchvision") for way in ways}
    minutes = EPOCH / float(table["images/s"].iloc[0]) / 60
    missing = [DISTRIBUTIONS[package] for package in DISTRIBUTIONS if not works(package)]
    notes = [
        f"{len(paths)} {'photographs' if asked.images else 'generated birds'}, median {width:.0f} x {height:.0f}, mean "
        f"{kib:.0f} KiB, from the file to a square uint8 array; one core, one thread, files in the page cache. Medians "
        f"over {asked.rounds} rounds, all ways in turn in each; times ours: the median of the ratios within a round.",
        f"{EPOCH:,} images, the training set of ILSVRC, take {minutes:.0f} minutes of one core, as wsol reads them at "
        f"{asked.sizes[0]} px.",
        "Pixels: compared with `read_image` and `resize_sample`; where they differ, the share of equal values, the "
        "largest difference and the mean difference, in gray levels of 255. The rows that begin with torchvision, "
        "torchcodec or simplejpeg do not rotate an image by its EXIF data.",
        "Equal to ours in all pixels, decoded and resized, at all sizes, and fastest, as times ours: with the packages "
        f"that wsol requires, {fastest_exact(table, [name for name in same_pixels if required[name]])}; of all, "
        f"{fastest_exact(table, same_pixels)}.",
        "`read_image` keeps Pillow: torchvision 0.29 deprecates its decoders and announces that they will be removed; "
        "wsol does not require simplejpeg and OpenCV, and they differ on CMYK, as the second table shows.",
        "Reduced decoding never falls below the requested size, so an image with a side under twice that is decoded in "
        "full: at 500 x 375 nothing is gained for 256 or 224. OpenCV at 1/2 does fall below it. Neither gives the "
        "pixels of the full path, so `read_reduced` is an option and no default.",
        "Second table: JPEGs of 117 x 93, 17 x 9, 3 x 2 and 1 x 1, each decoder compared with `read_image`.",
        "Left out: jpeg4py (last release 2018); PyTurboJPEG, which does not contain libjpeg-turbo; pillow-simd, which "
        "has to be built from source, replaces Pillow under the same name, and so cannot be timed beside it; its "
        "releases follow Pillow's (12.1.1 in September 2026, beside Pillow 13.0.0).",
        *(["Left out because not installed or not loading: " + ", ".join(missing) + "."] if missing else []),
    ]
    packages = {"libjpeg-turbo of Pillow": str(features.version("libjpeg_turbo"))}
    packages |= {name: str(version_of(name)) for package, name in DISTRIBUTIONS.items() if works(package)}
    tables = [markdown(rows.to_numpy().tolist(), rows.columns.tolist(), ".2f") for rows in (table, same)]
    publish(tables, notes, asked.out, command_of(__file__, sys.argv[1:], {"--images": data_name}), packages)


if __name__ == "__main__":
    main()
