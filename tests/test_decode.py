import struct

import numpy as np
import pytest
from PIL import Image

from wsol.decode import read_image, read_mask

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


def test_a_decompression_bomb_is_refused(tmp_path):
    # A valid PNG header that promises 40,000 x 40,000 pixels.
    def chunk(kind, data):
        import zlib

        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b""))
    with pytest.raises(ValueError, match=r"a\.png is refused"):
        read_image(tmp_path / "a.png")
