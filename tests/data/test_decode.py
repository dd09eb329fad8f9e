import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from wsol.data import decode
from wsol.data.decode import MAX_PIXELS, read_image, read_mask, read_reduced, read_size

RED_LEFT = np.zeros((4, 6, 3), np.uint8)
RED_LEFT[:, :3, 0] = 255


def test_rgb_png_is_read_as_it_is(tmp_path):
    Image.fromarray(RED_LEFT).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RED_LEFT)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    Image.fromarray(RED_LEFT).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (4, 6, 3)
    assert image.dtype == np.uint8
    if mode in ("P", "RGBA", "CMYK", "YCbCr"):
        assert np.abs(image.astype(int) - RED_LEFT).max() <= 2
    else:  # gray: the three channels agree
        assert (image == image[..., :1]).all()
        assert image[:, :3].mean() > image[:, 3:].mean()


def test_a_cmyk_jpeg(tmp_path):
    Image.fromarray(RED_LEFT.repeat(8, axis=0).repeat(8, axis=1)).convert("CMYK").save(tmp_path / "a.jpg")
    image = read_image(tmp_path / "a.jpg").astype(int)
    assert np.abs(image[16, 4] - [255, 0, 0]).max() < 30
    assert np.abs(image[16, 44]).max() < 30


def test_sixteen_bits_keep_their_range(tmp_path):
    values = np.linspace(0, 65535, 24).reshape(4, 6).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 0], (values / 257).astype(np.uint8))


def test_transparency_lies_over_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image[0, 0].tolist() == [255, 0, 0]
    assert image[1, 1].tolist() == [255, 255, 255]


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to see it upright
    Image.fromarray(RED_LEFT).save(tmp_path / "a.png", exif=exif)
    image = read_image(tmp_path / "a.png")
    assert image.shape == (6, 4, 3)
    assert (image[:3, :, 0] == 255).all()  # what was left is up
    assert (image[3:] == 0).all()


def test_masks_are_gray(tmp_path):
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[0, 255]]


@pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>"], ids=["empty", "no image"])
def test_what_is_no_image_is_named(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.jpg cannot be decoded .* unpack its archive again"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_image_is_named(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=rf"a\.{suffix} cannot be decoded"):
        read_image(path)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.jpg is missing"):
        read_image(tmp_path / "a.jpg")


ORIENTATIONS = range(1, 9)
UPRIGHT = {  # orientation -> what a viewer does to the stored pixels
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels.swapaxes(0, 1), 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_every_orientation_and_the_size_that_goes_with_it(tmp_path, suffix, orientation):
    pixels = smooth_image(4, 6)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, exif=orientation_tag(orientation), **lossless(suffix))
    expected = UPRIGHT[orientation](pixels)
    np.testing.assert_array_equal(read_image(path), expected)
    assert read_size(path) == expected.shape[:2]
    reduced, size = read_reduced(path, (1, 1))  # no JPEG, and so decoded in full
    np.testing.assert_array_equal(reduced, expected)
    assert size == expected.shape[:2]


@pytest.mark.parametrize(
    ("at_least", "decoded"),
    [
        ((96, 128), (96, 128)),
        ((97, 1), (192, 256)),  # half of the 192 rows would be 96: too few
        ((1, 129), (192, 256)),
        ((49, 65), (96, 128)),
        ((48, 64), (48, 64)),
        ((48, 65), (96, 128)),
        ((24, 32), (24, 32)),
        ((1, 1), (24, 32)),  # an eighth is the smallest
        ((192, 256), (192, 256)),
        ((1000, 1000), (192, 256)),  # nothing is enlarged
    ],
)
def test_a_jpeg_is_decoded_as_small_as_it_can_be(tmp_path, at_least, decoded):
    Image.fromarray(smooth_image(192, 256)).save(tmp_path / "a.jpg")
    image, size = read_reduced(tmp_path / "a.jpg", at_least)
    assert image.shape == (*decoded, 3)
    assert image.dtype == np.uint8
    assert size == read_size(tmp_path / "a.jpg") == (192, 256)


@pytest.mark.parametrize(("original", "decoded"), [((97, 131), (49, 66)), ((96, 129), (48, 65)), ((98, 130), (49, 65))])
def test_halves_of_odd_sides_are_rounded_up(tmp_path, original, decoded):
    Image.fromarray(smooth_image(*original)).save(tmp_path / "a.jpg")
    image, size = read_reduced(tmp_path / "a.jpg", (48, 64))
    assert image.shape[:2] == decoded
    assert size == original


def test_a_jpeg_below_twice_the_size_is_decoded_exactly(tmp_path):
    Image.fromarray(noisy_image(95, 300)).save(tmp_path / "a.jpg")
    image, size = read_reduced(tmp_path / "a.jpg", (48, 64))
    np.testing.assert_array_equal(image, read_image(tmp_path / "a.jpg"))
    assert size == (95, 300)


def test_half_of_a_smooth_jpeg_is_the_mean_of_its_pixels(tmp_path):
    Image.fromarray(smooth_image(192, 256)).save(tmp_path / "a.jpg", quality=95, subsampling=0)
    reduced, _ = read_reduced(tmp_path / "a.jpg", (96, 128))
    full = read_image(tmp_path / "a.jpg").astype(float)
    means = full.reshape(96, 2, 128, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced - means).max() <= 2


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_turned_jpeg_is_reduced_upright(tmp_path, orientation):
    Image.fromarray(smooth_image(192, 256)).save(tmp_path / "a.jpg", exif=orientation_tag(orientation), subsampling=0)
    full = read_image(tmp_path / "a.jpg")
    reduced, size = read_reduced(tmp_path / "a.jpg", tuple(side // 4 for side in full.shape[:2]))
    assert size == read_size(tmp_path / "a.jpg") == full.shape[:2]
    assert reduced.shape[:2] == tuple(side // 4 for side in size)
    corners = np.ix_([0, -1], [0, -1])
    assert np.abs(reduced[corners].astype(int) - full[corners]).max() < 12  # the four corners differ by over 50


def test_the_size_asked_for_is_that_of_the_upright_image_also_where_both_sides_agree(tmp_path):
    Image.fromarray(smooth_image(128, 128)).save(tmp_path / "a.jpg", exif=orientation_tag(6))
    assert read_reduced(tmp_path / "a.jpg", (64, 32))[0].shape[:2] == (64, 64)
    Image.fromarray(smooth_image(64, 256)).save(tmp_path / "b.jpg", exif=orientation_tag(6))  # upright: 256 x 64
    assert read_reduced(tmp_path / "b.jpg", (64, 32))[0].shape[:2] == (128, 32)
    assert read_reduced(tmp_path / "b.jpg", (32, 64))[0].shape[:2] == (256, 64)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_gray_and_cmyk_jpegs_are_reduced_too(tmp_path, mode, progressive):
    Image.fromarray(smooth_image(96, 128)).convert(mode).save(tmp_path / "a.jpg", progressive=progressive, quality=95)
    reduced, size = read_reduced(tmp_path / "a.jpg", (48, 64))
    assert reduced.shape == (48, 64, 3)
    assert size == (96, 128)
    means = read_image(tmp_path / "a.jpg").reshape(48, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced - means).max() < 12


@pytest.mark.parametrize("at_least", [(0, 5), (5, -1)])
def test_a_reduced_size_that_is_none_is_named(tmp_path, at_least):
    Image.fromarray(RED_LEFT).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"at least 1 x 1 pixels, got \("):
        read_reduced(tmp_path / "a.jpg", at_least)


def test_errors_of_a_reduced_image(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.jpg is missing"):
        read_reduced(tmp_path / "a.jpg", (1, 1))
    Image.fromarray(noisy_image(64, 64)).save(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "b.jpg").read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"b\.jpg cannot be decoded"):
        read_reduced(tmp_path / "b.jpg", (8, 8))


READERS = {"image": read_image, "reduced": lambda path: read_reduced(path, (8, 8)), "size": read_size}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("suffix", "size"),
    [
        ("png", (50_000, 50_000)),
        ("png", (40_000, 40_000)),
        ("png", (10_000, 10_000)),  # more than MAX_PIXELS, less than twice: there Pillow only warns
        ("png", (MAX_PIXELS // 5 + 1, 5)),  # one row too many
        ("jpg", (60_000, 60_000)),
        ("jpg", (10_000, 10_000)),
    ],
)
def test_a_decompression_bomb_is_refused(tmp_path, reader, suffix, size):
    (tmp_path / f"a.{suffix}").write_bytes(claiming(*size, suffix))
    with pytest.raises(ValueError, match=rf"a\.{suffix} is refused: .* Resize it or take it out"):
        READERS[reader](tmp_path / f"a.{suffix}")


def test_as_many_pixels_as_allowed_are_not_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(claiming(MAX_PIXELS // 5, 5, "png"))
    with pytest.raises(ValueError, match=r"a\.png cannot be decoded"):  # the file has no pixels at all
        read_image(tmp_path / "a.png")


def test_a_limit_that_others_lifted_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "a.png").write_bytes(claiming(50_000, 50_000, "png"))
    with pytest.raises(ValueError, match=r"refused: 50000 x 50000 pixels exceed the limit of 89,478,485\. Resize"):
        read_image(tmp_path / "a.png")


def test_threads_hold_the_limit_and_leave_the_filters_of_warnings_as_they_were(tmp_path):
    (tmp_path / "a.png").write_bytes(claiming(10_000, 10_000, "png"))  # Pillow warns of it
    Image.fromarray(RED_LEFT).save(tmp_path / "b.png")
    before = list(warnings.filters)

    def outcome(number):
        try:
            return read_image(tmp_path / ("a.png" if number % 2 else "b.png")).shape
        except ValueError as error:
            return "is refused: 10000 x 10000 pixels" in str(error)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(outcome, range(40))) == [(4, 6, 3), True] * 20
    assert list(warnings.filters) == before


def test_images_read_across_each_other_leave_the_filters_of_warnings_as_they_were(tmp_path):
    Image.fromarray(RED_LEFT).save(tmp_path / "a.png")
    before = list(warnings.filters)
    first, second = decode._opened(tmp_path / "a.png"), decode._opened(tmp_path / "a.png")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # what begins first ends first: not a nesting, but what threads do
    warnings.warn("the second one is still read", UserWarning, stacklevel=1)  # an error, were it not dropped
    second.__exit__(None, None, None)
    assert list(warnings.filters) == before


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_nothing_is_lost_for_the_copies_that_are_saved(tmp_path, mode, orientation):
    Image.fromarray(noisy_image(33, 47)).convert(mode).save(tmp_path / "a.jpg", exif=orientation_tag(orientation))
    with Image.open(tmp_path / "a.jpg") as file:
        plain = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), plain)


def smooth_image(height, width):
    """Ramps that differ in every corner and channel, and survive JPEG."""
    y, x = np.mgrid[:height, :width] / [[[height]], [[width]]]
    return np.rint(np.stack([200 * x, 200 * y, 100 * x + 100 * y], axis=-1) + 20).astype(np.uint8)


def noisy_image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def orientation_tag(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def lossless(suffix):
    return {"lossless": True} if suffix == "webp" else {}


def claiming(height, width, suffix):
    """A file of a few hundred bytes whose head promises so many pixels, in rows and columns."""
    if suffix == "jpg":
        content = io.BytesIO()
        Image.fromarray(RED_LEFT).save(content, "jpeg")
        found = content.getvalue()
        place = found.index(b"\xff\xc0") + 5  # start of frame: marker, length (2), precision (1), height, width
        return found[:place] + struct.pack(">HH", height, width) + found[place + 4 :]
    data = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", data) + chunk(b"IEND", b"")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
