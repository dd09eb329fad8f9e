"""Image files of every kind as upright RGB arrays."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file.

    Grayscale, palette, CMYK, 16-bit and transparent images become RGB (transparency over white); an EXIF rotation is
    applied, so the array is what a viewer shows.

    Returns:
        (H, W, 3) uint8.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is empty, truncated, no image, or so large that it must be a decompression bomb.
    """
    try:
        with warnings.catch_warnings():
            # Past Pillow's pixel limit a warning, past twice the limit an error: here an error for both. Broken EXIF
            # and palette oddities also warn; they do not change the pixels.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                file.load()
                return np.asarray(_to_rgb(ImageOps.exif_transpose(file)))
    except FileNotFoundError:
        raise FileNotFoundError(f"Image {path} is missing; unpack its archive again.") from None
    except PermissionError:
        raise ValueError(f"Image {path} may not be read; change its permissions.") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"Image {path} is refused: {error} Resize it or take it out.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"Image {path} cannot be decoded ({error}); it is truncated or no image: unpack its archive again."
        ) from None


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image as `read_image` returns it, from the head of its file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as file:
                width, height = file.size
                turned = file.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except FileNotFoundError:
        raise FileNotFoundError(f"Image {path} is missing; unpack its archive again.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"Image {path} cannot be read ({error}); unpack its archive again.") from None
    return (width, height) if turned else (height, width)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8 gray values of a mask file; errors as in `read_image`."""
    return np.asarray(Image.fromarray(read_image(path)).convert("L"))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip everything above 255 to white
        return Image.fromarray((np.asarray(image).astype(np.float64) / 257).clip(0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
