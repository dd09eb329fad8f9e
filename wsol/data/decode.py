"""Decode image files of every kind to upright RGB arrays."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from wsol.atomic_files import regular_file
from wsol.geometry import Size

# Images of more pixels are refused before they are decoded: as RGB they would take over 256 MiB. Pillow's own limit is
# the same, but there it is a warning up to twice as much, and any library may move it.
MAX_PIXELS = 89_478_485

# Pillow goes by content, not by name, and would start Ghostscript on an EPS file that is named .jpg.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")


def read_image(source: Path | bytes, name: str = "", upright: bool = True) -> NDArray[np.uint8]:
    """Decode an image file.

    Grayscale, palette, CMYK, 16-bit and transparent images become RGB (transparency over white); an EXIF rotation is
    applied, so the array is what a viewer shows.

    Args:
        source: a file, or its bytes from a table.
        name: name in messages of an image without a file.
        upright: False: the pixels as stored, whatever EXIF contains.

    Returns:
        (H, W, 3) uint8.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is empty, truncated, no image, or claims more than MAX_PIXELS.
    """
    with _opened(source, name) as file:
        return _upright(file) if upright else np.asarray(_to_rgb(file))


def read_reduced(path: Path, at_least: Size) -> tuple[NDArray[np.uint8], Size]:
    """Decode a JPEG at 1/2, 1/4 or 1/8 of its size, as small as it can be without falling below `at_least`.

    The decoder's inverse cosine transform yields the smaller image directly, which is faster. It is not what
    `read_image` and a resize give: results/reference/measure/decode.md reports by how much. A JPEG with a side less
    than twice that of `at_least`, and any other kind of file, is decoded as by `read_image`.

    Args:
        path: of the image.
        at_least: (height, width) of the upright image, in pixels.

    Returns:
        The upright image, (h, w, 3) uint8, and the (height, width) that `read_image` would have given: boxes are in
        pixels of that size. Decoded at 1/s, h is the height / s rounded up, so the last row and column may cover
        less than s pixels.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if `at_least` is not positive; else as `read_image`.
    """
    if min(at_least) < 1:
        raise ValueError(f"An image is decoded at some size of at least 1 x 1 pixels, got {at_least}.")
    with _opened(path) as file:
        size = _upright_size(file)
        if isinstance(file, JpegImageFile):
            height, width = at_least
            file.draft(None, (height, width) if _lies(file) else (width, height))
        return _upright(file), size


def read_size(source: Path | bytes, name: str = "") -> Size:
    """Read the (height, width) that `read_image` returns; of most formats only the head is read.

    Args:
        source: a file, or its bytes.
        name: name in messages of an image without a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image, or claims more than MAX_PIXELS.
    """
    with _opened(source, name, "cannot be read ({})") as file:
        return _upright_size(file)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 gray values of a mask file; errors are those of `read_image`."""
    return np.asarray(Image.fromarray(read_image(path)).convert("L"))


class _Quiet:
    """Context that drops warnings: broken EXIF and palette oddities cause some, and change no pixel.

    The filters of warnings are shared by all threads. Were they kept and put back for each image, two threads could
    put them back in the wrong order, and warnings would stay dropped, or appear while another image is read.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._filters = Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)


_quiet = _Quiet()


@contextmanager
def _opened(
    source: Path | bytes, name: str = "", failure: str = "cannot be decoded ({}); it is truncated or no image"
) -> Iterator[Image.Image]:
    """Open an image without decoding it; errors, also those of the block, name the image and the remedy."""
    in_table = isinstance(source, bytes)
    what = f"{name}: the image" if isinstance(source, bytes) else f"Image {source}"
    anew = "take the row out, or make the data set again" if in_table else "unpack its archive again"
    try:
        content = io.BytesIO(source) if isinstance(source, bytes) else regular_file(source)
        with _quiet, Image.open(content, formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                raise Image.DecompressionBombError(
                    f"{file.width} x {file.height} pixels exceed the limit of {MAX_PIXELS:,}."
                )
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"{what} is missing; {anew}.") from None
    except PermissionError:
        raise ValueError(f"{what} may not be read; change its permissions.") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{what} is refused: {error} Resize it or take it out.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        # For bytes Pillow names the address in memory, which helps nobody.
        reason = "of no known format" if in_table and isinstance(error, UnidentifiedImageError) else str(error)
        raise ValueError(f"{what} {failure.format(reason)}: {anew}.") from None


def _upright_size(file: Image.Image) -> Size:
    if isinstance(file, TiffImagePlugin.TiffImageFile):  # newer versions of Pillow give its size turned, older do not
        width, height = file.tag_v2[TiffImagePlugin.IMAGEWIDTH], file.tag_v2[TiffImagePlugin.IMAGELENGTH]
    else:
        width, height = file.size
    return (width, height) if _lies(file) else (height, width)


def _lies(file: Image.Image) -> bool:
    """Return whether the file's rows are the columns of the upright image."""
    return file.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)


def _upright(file: Image.Image) -> NDArray[np.uint8]:
    ImageOps.exif_transpose(file, in_place=True)  # a new image would be a copy even where nothing turns
    return np.asarray(_to_rgb(file))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip everything above 255 to white
        return Image.fromarray((np.asarray(image).astype(np.float64) / 257).clip(0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
