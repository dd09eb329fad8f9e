import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from commands import run_command
from measure import decode as speed_decode
from wsol.data.decode import read_image

ROOT = Path(__file__).parents[3]
WHITE = np.full((2, 2, 3), 255, np.uint8)


def test_a_difference_over_two_images():
    difference = speed_decode.Difference()
    difference.add(WHITE, WHITE)
    assert str(difference) == "equal"
    changed = WHITE.copy()
    changed[0, 0] = (254, 252, 255)  # 22 of 24 values stay; 4 levels over 24 values
    difference.add(changed, WHITE)
    assert str(difference) == "91.7%, 3, 0.167"
    assert not difference.none


def test_a_reduced_image_tells_how_many_pixels_are_left():
    difference = speed_decode.Difference()
    difference.add(WHITE, np.zeros((4, 4, 3), np.uint8))
    assert str(difference) == "25% of the pixels"
    assert not difference.none


def test_generated_images_are_of_the_size_and_weight_of_photographs(tmp_path):
    paths = speed_decode.generate(tmp_path, 2)
    assert [read_image(path).shape for path in paths] == [(375, 500, 3)] * 2
    assert all(40_000 < path.stat().st_size < 250_000 for path in paths)


def test_photographs_are_drawn_from_all_folders_and_are_the_same_each_time(tmp_path):
    for name in ("a/1.jpg", "a/2.JPG", "b/c/3.jpeg", "b/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert {path.name for path in speed_decode.photographs(tmp_path, 9)} == {"1.jpg", "2.JPG", "3.jpeg"}
    assert speed_decode.photographs(tmp_path, 2) == speed_decode.photographs(tmp_path, 2)
    with pytest.raises(SystemExit, match=r"empty contains no JPEG"):
        speed_decode.photographs(tmp_path / "empty", 2)


def test_every_way_gives_an_image_of_the_size_asked_for_that_shows_the_same(tmp_path):
    (path,) = speed_decode.generate(tmp_path, 1)
    expected = speed_decode.pillow_resize(read_image(path), (60, 80))
    ways = [way for way in speed_decode.WAYS if speed_decode.works(way.package)]
    assert speed_decode.OURS in ways
    for way in ways:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torchvision from 0.29 on
            image = way.resize(way.decode(path, (60, 80)), (60, 80))
        assert image.shape == (60, 80, 3), way.name
        assert image.dtype == np.uint8, way.name
        assert np.abs(image.astype(int) - expected).mean() < 6, way.name


def test_a_decoder_that_gives_up_is_distinguished_from_one_that_differs(tmp_path):
    def fails(path):
        raise ValueError

    table = speed_decode.equality(
        {"ours": read_image, "dark": lambda path: read_image(path) // 2, "broken": fails}, tmp_path
    )
    assert set(table["ours"]) == {"equal"}
    assert set(table["broken"]) == {"ValueError"}
    assert table["dark"].str.startswith("up to ").all()
    assert "CMYK, 4:2:0, progressive" in table["JPEG"].tolist()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no process to a core")
def test_one_core_is_given_back():
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    with speed_decode.one_core():
        assert len(os.sched_getaffinity(0)) == 1
        assert torch.get_num_threads() == 1
    assert os.sched_getaffinity(0) == cores
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_the_tables(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for place in range(2):
        noise = np.random.default_rng(place).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{place}.jpg")
    out = tmp_path / "speed.md"
    options = ["--images", folder, "--rounds", "1", "--sizes", "64", "32", "--out", out]
    done = run_command("measure/decode.py", *options)
    text = out.read_text(encoding="utf-8")
    assert text.strip() == done.stdout.strip()
    assert str(tmp_path) not in text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n\n")[0].splitlines()[2:]]
    found = {(int(row[0]), row[1]): row for row in rows}
    ours = [found[size, speed_decode.OURS.name] for size in (64, 32)]
    assert all(row[4] == "1.00" and row[6:] == ["equal", "equal"] for row in ours)
    reduced = [row for (size, name), row in found.items() if "read_reduced" in name]
    assert [row[6] for row in reduced] == ["equal", "25% of the pixels"]  # 90 rows are not twice 64, but twice 32
    assert "2 photographs, median 120 x 90" in text
