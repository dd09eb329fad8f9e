"""Class-specific units: the unit that fires on the red square finds the red square."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import units as command
from networks import HalfOfTheChannels, tiny_classifier
from tiny_runs import make_run
from wsol.data.sample import Sample
from wsol.explain.class_units import ClassUnit, class_units, excited_box, most_exciting
from wsol.machine import Machine
from wsol.networks.backbone import Backbone
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.wildcat import WILDCAT
from wsol.report.pictures.class_units import draw_units
from wsol.report.pictures.panels import PictureText
from wsol.training.methods.acol import ACoL

RED, GREEN, BLUE = 0, 1, 2
HOSTILE = "a $x_1$ \\frac{ 鳥" * 4


class Squares:
    """16 px images with one square of 4 px, 8 px from the corner; unit c of the network reads colour c."""

    name = "squares"

    def __init__(self, colors):
        self.samples = []
        for index, (color, value) in enumerate(colors):
            image = np.zeros((16, 16, 3), np.uint8)
            image[8:12, 4:8, color] = value
            self.samples.append(Sample(image, color, str(index)))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


@pytest.fixture
def run_folder(tmp_path):
    return make_run(tmp_path)


@pytest.fixture
def classifier():
    """Maps of 8 x 8 cells, one channel a colour; class 0 likes red, then blue."""
    backbone = Backbone(nn.Sequential(nn.AvgPool2d(2)), 3, (0.0,) * 3, (1.0,) * 3)
    made = Classifier(backbone, GAP(), 2).eval()
    with torch.no_grad():
        made.fc.weight.copy_(torch.tensor([[2.0, -3.0, 0.5], [1.0, 1.0, 0.0]]))
    return made


def find(classifier, images, units, count, **how):
    return most_exciting(classifier, images, units, count, Machine(accelerator="cpu", progress=False, **how))


def test_the_largest_weights_come_first(classifier):
    assert class_units(classifier, 0, 2) == [ClassUnit(RED, 2.0), ClassUnit(BLUE, 0.5)]
    assert class_units(classifier, 1, 2) == [ClassUnit(0, 1.0), ClassUnit(1, 1.0)]  # of equals the lower index
    with pytest.raises(ValueError, match="class 2 does not exist"):
        class_units(classifier, 2, 1)
    with pytest.raises(ValueError, match=r"units must lie in \[1, 3\].* got 4"):
        class_units(classifier, 0, 4)


def test_a_head_that_reads_other_features_has_no_units():
    with pytest.raises(ValueError, match=r"a class's units .* and HalfOfTheChannels reads 5 for 10; take pooling=gap"):
        class_units(tiny_classifier(HalfOfTheChannels()), 0, 1)
    two_branches = ACoL(width=8).attach(tiny_classifier(GAP()))
    with pytest.raises(ValueError, match=r"a class's units .* and TwoBranches reads 8 for 10; take pooling=gap"):
        class_units(two_branches, 0, 1)


def test_class_scores_that_are_pooled_have_units_too():
    torch.manual_seed(0)
    classifier = Classifier(small_cnn(channels=(6, 10)), WILDCAT(maps_per_class=2), 3, "scores")
    (unit,) = class_units(classifier, 1, 1)
    mean = (classifier.fc.weight[2] + classifier.fc.weight[3]).detach() / 2
    assert unit == ClassUnit(int(mean.argmax()), pytest.approx(float(mean.max())))


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_unit_that_fires_on_red_finds_the_red_square(classifier, batch_size):
    images = Squares([(GREEN, 255), (RED, 51), (BLUE, 255), (RED, 255), (RED, 102)])
    found = find(classifier, images, [BLUE, RED], 3, batch_size=batch_size)
    assert [one.index for one in found[RED]] == [3, 4, 1]
    assert [round(one.peak, 3) for one in found[RED]] == [1.0, 0.4, 0.2]
    assert found[BLUE][0].index == 2
    for one in [*found[RED], found[BLUE][0]]:
        x0, y0, x1, y1 = one.box
        # Cells of 2 px: half of the peak lies within one of them beside the square.
        assert abs(x0 - 4) <= 1
        assert abs(y0 - 8) <= 1
        assert abs(x1 - 8) <= 1
        assert abs(y1 - 12) <= 1
    assert found[BLUE][1].peak == 0
    assert not found[BLUE][1].box.any()


def test_equal_peaks_are_distinguished_by_the_mean(classifier):
    images = Squares([(RED, 255), (RED, 255), (RED, 255)])
    images.samples[2].image[:4, :4, RED] = 100
    found = find(classifier, images, [RED], 3, batch_size=1)
    assert [one.index for one in found[RED]] == [2, 0, 1]
    with pytest.raises(ValueError, match="crops must be at least 1"):
        find(classifier, images, [RED], 0)


def test_the_crop_lies_around_the_peak_alone():
    activation = torch.zeros(8, 8)
    activation[1, 1], activation[6, 5:7] = 0.9, 1.0
    x0, y0, x1, y1 = excited_box(activation, (8, 8))
    assert (x0, y0, x1, y1) == (5, 6, 7, 7)
    assert not excited_box(-activation, (8, 8)).any()


def test_hostile_names_and_silent_units_are_drawn(classifier, tmp_path):
    images = Squares([(RED, 255), (GREEN, 255)])
    found = find(classifier, images, [RED, BLUE], 2)
    path = tmp_path / "units.png"
    draw_units(path, class_units(classifier, 0, 2), found, images.__getitem__, PictureText(HOSTILE, [HOSTILE] * 3))
    with Image.open(path) as picture:
        assert picture.width > 300


def test_the_command(run_folder, tmp_path, monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["units.py", str(run_folder), *words, "--out", str(tmp_path / "out")])
        return command.main(), capsys.readouterr()

    status, printed = call("class=species 2,0", "units=2", "crops=3", "machine.accelerator=cpu")
    assert status == 0, printed.err
    names = {path.name for path in (tmp_path / "out" / "tiny").iterdir()}
    assert names == {"002-species_2.png", "000-species_0.png"}
    for word, message in (
        ("units=0", "units must lie in [1, 10]"),
        ("crops=x", "crops must be a whole number"),
        ("split=all", "split must be train, val or test"),
        ("class=9", "class 9 does not exist"),
        ("what", "expected SETTING=VALUE"),
    ):
        status, printed = call(word)
        assert status == 2
        assert message in printed.err


def test_a_classifier_of_another_build_has_its_units_too(images):
    found = find(tiny_classifier(GAP()), Squares([(RED, 9), (BLUE, 9)]), [3], 2)
    assert len(found[3]) == 2
