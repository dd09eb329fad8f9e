"""HaS, CutMix, ADL, random erasing and RandAugment."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from networks import tiny_classifier
from wsol.data.sample import Sample
from wsol.identity import describe, restore
from wsol.machine import Machine
from wsol.maps.forward_pass import forward_pass
from wsol.maps.methods.cam import CAM
from wsol.networks.backbone import Backbone
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pixels import mean_color, to_pixels
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.training.base_method import TrainingBatch, TrainingMethod
from wsol.training.methods.adl import ADL
from wsol.training.methods.cutmix import CutMix
from wsol.training.methods.erasing import RandomErasing
from wsol.training.methods.has import HaS
from wsol.training.methods.rand_augment import RandAugment
from wsol.training.train import Checkpointing, TrainSettings, train

CONF = Path(__file__).parents[3] / "conf" / "method"
METHODS = {
    "has": HaS(),
    "cutmix": CutMix(),
    "adl": ADL(layers=("backbone.block1", "backbone")),
    "erasing": RandomErasing(probability=1.0),
    "erasing_mean": RandomErasing(probability=1.0, fill="mean"),
    "rand_augment": RandAugment(),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
STEM = {HaS: "has", CutMix: "cutmix", ADL: "adl", RandomErasing: "erasing", RandAugment: "rand_augment"}


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def make_batch(count=8, size=16, seed=0, **fields):
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=gen(5))
    class_ids = torch.arange(count) % 5
    return TrainingBatch(images.contiguous(memory_format=torch.channels_last), class_ids, gen(seed), **fields)


def training(pooling=GAP, **kwargs):
    return tiny_classifier(pooling(), **kwargs).train()


class Recorder(Classifier):
    """Keeps the images that it is called with."""

    def forward(self, images):
        self.seen = images
        return super().forward(images)


def seen_by(method, batch, mean=(0.5, 0.5, 0.5)):
    """What the network is shown in one step, and the network."""
    torch.manual_seed(0)
    trunk = small_cnn(channels=(6, 10))
    modules = torch.nn.Sequential()
    for name in trunk.trunk_names:
        modules.add_module(name, trunk.get_submodule(name))
    classifier = Recorder(Backbone(modules, 10, mean), GAP(), 5).train()
    method.loss(classifier, batch)
    return classifier.seen, classifier


# What all of them promise.


@every_method
def test_a_few_steps_lower_the_loss_of_the_plain_network(method):
    classifier, batch = training(), make_batch()
    optimizer = torch.optim.Adam(classifier.parameters(), lr=3e-2)

    def plain():
        with torch.no_grad():
            return TrainingMethod().loss(classifier, batch)[0].item()

    before, generator = plain(), gen()
    for _ in range(20):
        loss, _ = method.loss(classifier, replace(batch, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert plain() < 0.8 * before


@every_method
def test_the_generator_alone_decides(method):
    def drawn(seed):
        loss, logits = method.loss(training(), make_batch(seed=seed))
        return loss.item(), logits

    first, other = drawn(0), drawn(1)
    torch.manual_seed(99)  # the global generator has no say
    again = drawn(0)
    assert first[0] == again[0]
    assert torch.equal(first[1], again[1])
    assert first[0] != other[0]


@every_method
def test_the_global_generator_is_left_alone(method):
    classifier, batch = training(), make_batch()
    torch.manual_seed(1234)
    state = torch.get_rng_state()
    method.loss(classifier, batch)
    assert torch.equal(torch.get_rng_state(), state)


@every_method
@pytest.mark.parametrize("scale", [1, 255], ids=["bytes", "floats"])
def test_the_batch_is_not_changed(method, scale):
    batch = make_batch()
    if scale == 255 and isinstance(method, RandAugment):
        pytest.skip("takes bytes alone")
    batch = replace(batch, images=batch.images if scale == 1 else batch.images / scale)
    images, class_ids = batch.images.clone(), batch.class_ids.clone()
    method.loss(training(), batch)
    assert torch.equal(batch.images, images)
    assert torch.equal(batch.class_ids, class_ids)


@every_method
@pytest.mark.parametrize(("pooling", "pool_site"), [(GAP, "features"), (GMP, "scores")])
@pytest.mark.parametrize(("count", "size"), [(1, 16), (3, 13)])
def test_any_head_size_and_number_of_images(method, pooling, pool_site, count, size):
    torch.manual_seed(0)
    classifier = Classifier(small_cnn(channels=(6, 10)), pooling(), 5, pool_site).train()
    loss, logits = method.loss(classifier, make_batch(count, size, label_smoothing=0.1))
    loss.backward()
    assert logits.shape == (count, 5)
    assert loss.ndim == 0
    assert all(torch.isfinite(parameter.grad).all() for parameter in classifier.parameters())


@pytest.mark.parametrize(
    "method",
    [
        HaS(drop_rate=0),
        CutMix(probability=0),
        RandomErasing(probability=0),
        RandomErasing(probability=0, fill="mean"),
        RandAugment(num_ops=0),
    ],
    ids=["has", "cutmix", "erasing", "erasing_mean", "rand_augment"],
)
def test_switched_off_it_is_plain_training_to_the_bit(method):
    def trained(one):
        classifier = training()
        loss, logits = one.loss(classifier, make_batch(label_smoothing=0.1))
        loss.backward()
        return loss, logits, *(parameter.grad for parameter in classifier.parameters())

    for found, expected in zip(trained(method), trained(TrainingMethod()), strict=True):
        assert torch.equal(found, expected)


@every_method
def test_nothing_is_added_to_the_classifier(method):
    classifier = training()
    names, state = [name for name, _ in classifier.named_modules()], list(classifier.state_dict())
    images = make_batch().images
    attached = method.attach(classifier)
    method.loss(attached, make_batch())
    assert attached is classifier
    assert [name for name, _ in classifier.named_modules()] == names
    assert list(classifier.state_dict()) == state
    plain = tiny_classifier(GAP())
    plain.load_state_dict(classifier.state_dict())
    for copied in (classifier, copy.deepcopy(classifier), pickle.loads(pickle.dumps(classifier))):
        assert torch.equal(copied.eval()(images), plain(images))


@every_method
def test_it_can_be_described_restored_and_sent_to_another_process(method):
    assert describe(restore(describe(method), ["method"])) == describe(method)
    assert pickle.loads(pickle.dumps(method)) == method


@pytest.mark.parametrize("kind", STEM, ids=STEM.values())
def test_its_option_has_the_defaults(kind):
    built = instantiate(OmegaConf.load(CONF / f"{STEM[kind]}.yaml"), _convert_="all")
    assert type(built) is kind
    assert describe(built) == describe(kind())


class Stripes(torch.utils.data.Dataset):
    """Class 0 has bright rows, class 1 bright columns."""

    def __init__(self):
        self.samples = []
        for index in range(12):
            image = np.random.default_rng(index).integers(0, 80, (18, 18, 3), dtype=np.uint8)
            bright = image[:, ::3] if index % 2 else image[::3]
            bright += 150
            self.samples.append(Sample(image, index % 2, str(index)))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


CPU = Machine(accelerator="cpu", progress=False)


def run(method, epochs, dataset=None, seed=0, checkpoint=None):
    classifier = method.attach(tiny_classifier(GAP(), 2, seed=seed))
    arguments = {"seed": 3, "image_size": 16, "machine": CPU, "method": method}
    settings = TrainSettings(epochs=epochs, batch_size=4, lr=1e-2, schedule="constant")
    history = train(classifier, dataset or Stripes(), settings, checkpointing=Checkpointing(checkpoint), **arguments)
    return torch.cat([tensor.flatten().float() for tensor in classifier.state_dict().values()]), history


@every_method
def test_an_epoch_of_training(method):
    weights, history = run(method, epochs=1)
    assert len(history) == 1
    assert torch.isfinite(weights).all()


@pytest.mark.parametrize("name", ["adl", "rand_augment"])
def test_killed_and_resumed_ends_with_the_very_same_weights(name, tmp_path):
    class Killed(Exception):
        pass

    class DiesInSecondEpoch(Stripes):
        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            if self.reads > 1.5 * len(self):
                raise Killed
            return super().__getitem__(index)

    method = METHODS[name]
    expected, history = run(method, epochs=2)
    with pytest.raises(Killed):
        run(method, 2, DiesInSecondEpoch(), checkpoint=tmp_path / "c.ckpt")
    resumed, found = run(method, 2, seed=99, checkpoint=tmp_path / "c.ckpt")
    assert torch.equal(resumed, expected)
    assert [one["loss"] for one in found] == [one["loss"] for one in history]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (HaS, {"cells": 0}, r"cells of HaS must be a whole number from 1 on, or a list of them, got 0"),
        (HaS, {"cells": []}, r"cells of HaS .* got \[\]"),
        (HaS, {"cells": 2.5}, r"cells of HaS .* got 2.5"),
        (HaS, {"cells": [4, 0]}, r"cells of HaS .* got \[4, 0\]"),
        (HaS, {"drop_rate": 1.0}, r"drop_rate of HaS must lie in \[0, 1\), got 1.0"),
        (HaS, {"drop_rate": float("nan")}, r"drop_rate of HaS"),
        (CutMix, {"alpha": 0}, r"alpha of CutMix must be above 0 and finite, got 0"),
        (CutMix, {"probability": 1.5}, r"probability of CutMix must lie in \[0, 1\], got 1.5"),
        (ADL, {"layers": []}, r"layers of ADL must be a list of different names, got \[\]"),
        (ADL, {"layers": "backbone"}, r"layers of ADL must be a list of different names, got 'backbone'"),
        (ADL, {"layers": ["backbone", "backbone"]}, r"layers of ADL must be a list of different names"),
        (ADL, {"drop_rate": -0.1}, r"drop_rate of ADL must lie in \[0, 1\], got -0.1"),
        (ADL, {"drop_threshold": 1.1}, r"drop_threshold of ADL must lie in \[0, 1\], got 1.1"),
        (RandomErasing, {"probability": 2}, r"probability of RandomErasing must lie in \[0, 1\], got 2"),
        (RandomErasing, {"min_area": 0.5}, r"0 < min_area <= max_area <= 1, got min_area 0.5, max_area 0.4"),
        (RandomErasing, {"min_area": 0}, r"0 < min_area"),
        (RandomErasing, {"min_aspect": 1.5}, r"min_aspect of RandomErasing must lie in \(0, 1\], got 1.5"),
        (RandomErasing, {"fill": "black"}, r"fill of RandomErasing must be random or mean, got 'black'"),
        (RandAugment, {"num_ops": -1}, r"num_ops of RandAugment must be a whole number from 0 on, got -1"),
        (RandAugment, {"magnitude": 31}, r"magnitude of RandAugment must be a whole number from 0 to 30, got 31"),
        (RandAugment, {"magnitude": 2.5}, r"magnitude of RandAugment .* got 2.5"),
    ],
)
def test_bad_settings_are_named(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


# HaS.


def test_has_hides_whole_cells_of_the_mean_colour_and_nothing_else():
    mean, batch = (0.485, 0.456, 0.406), make_batch(count=6, size=16)
    shown, classifier = seen_by(HaS(cells=4), batch, mean)
    pixels, color = to_pixels(classifier, batch.images), mean_color(classifier)
    hidden = HaS(cells=4).hidden(6, 16, 16, gen())
    painted = (shown == color).all(dim=1, keepdim=True)
    assert torch.equal(painted, hidden)
    assert torch.equal(shown[~hidden.expand_as(shown)], pixels[~hidden.expand_as(shown)])
    share = hidden.float().unfold(2, 4, 4).unfold(3, 4, 4).mean(dim=(4, 5))
    assert set(share.unique().tolist()) == {0.0, 1.0}  # each 4 x 4 px cell as a whole
    normalized = (shown - color) / classifier.backbone.std
    assert (normalized[hidden.expand_as(shown)] == 0).all()


@pytest.mark.parametrize("drop_rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("cells", [4, [3, 5]])
def test_has_hides_the_drop_rate_on_average(drop_rate, cells):
    hidden = HaS(cells, drop_rate).hidden(3000, 15, 15, gen())
    assert hidden.float().mean().item() == pytest.approx(drop_rate, abs=0.02)
    in_each_image = hidden.float().mean(dim=(1, 2, 3))
    assert len(in_each_image.unique()) > 5  # drawn for each image


def test_has_shares_out_sides_that_cells_do_not_divide():
    hidden = HaS(cells=3, drop_rate=0.5).hidden(400, 7, 7, gen())[:, 0]
    changes = (hidden[:, 1:] != hidden[:, :-1]).any(dim=2).any(dim=0)
    assert changes.nonzero().flatten().tolist() == [2, 4]  # rows 0-2, 3-4, 5-6: cell = row * 3 // 7


def test_has_draws_the_grid_of_each_image():
    hidden = HaS(cells=(1, 2)).hidden(4000, 2, 2, gen())[:, 0].flatten(1)
    whole = (hidden.all(dim=1) | (~hidden).all(dim=1)).float().mean().item()
    assert whole == pytest.approx(0.5 + 0.5 * 2 / 16, abs=0.02)  # one cell always; four cells are equal in 2 of 16


@pytest.mark.parametrize(("height", "width"), [(1, 1), (6, 4), (2, 30)])
def test_has_of_other_shapes_and_of_one_pixel(height, width):
    hidden = HaS(cells=2).hidden(10, height, width, gen())
    assert hidden.shape == (10, 1, height, width)
    tops, lefts = torch.arange(height) * 2 // height, torch.arange(width) * 2 // width
    for image in hidden[:, 0]:
        quarters = {(top, left): set() for top in tops.tolist() for left in lefts.tolist()}
        for y, top in enumerate(tops.tolist()):
            for x, left in enumerate(lefts.tolist()):
                quarters[top, left].add(image[y, x].item())
        assert all(len(values) == 1 for values in quarters.values())


# CutMix.


@pytest.mark.parametrize("size", [(16, 16), (9, 30), (1, 1)])
def test_cutmix_pastes_one_box_and_weighs_its_area(size):
    count = 5
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 3, *size).contiguous()
    for seed in range(50):
        mixed, partners, share = CutMix().mix(images, gen(seed))
        assert sorted(partners.tolist()) == list(range(count))
        for index, partner in enumerate(partners.tolist()):
            pasted = (mixed[index] == partner).all(dim=0)
            own = (mixed[index] == index).all(dim=0)
            assert (pasted | own).all()
            if partner == index:
                continue
            assert pasted.float().mean().item() == pytest.approx(share)
            if pasted.any():  # a full rectangle
                rows, columns = pasted.any(dim=1), pasted.any(dim=0)
                assert torch.equal(pasted, rows[:, None] & columns[None])
                for line in (rows, columns):
                    assert (line.int().diff() == 1).sum() + line[0] == 1


def test_cutmix_boxes_have_the_drawn_area():
    # alpha = 1: the area 1 - λ is uniform, r = sqrt(u) the sides. Of an interval of the length r around a uniform place
    # in [0, 1] r² / 8 hangs over each border on average, so r - r² / 4 is left of it: E a = E (r - r² / 4)².
    u = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    expected = ((u.sqrt() - u / 4) ** 2).mean().item()
    image = torch.zeros(1, 1, 100, 100, dtype=torch.uint8)
    generator = gen()
    shares = [CutMix().mix(image, generator)[2] for _ in range(2000)]
    assert np.mean(shares) == pytest.approx(expected, abs=0.02)
    narrow = [CutMix(alpha=1e6).mix(image, generator)[2] for _ in range(200)]  # λ is almost 1/2
    assert max(narrow) == 0.49  # 70 of 100 px: sides are cut to whole pixels


def test_cutmix_mixes_the_labels_by_the_area():
    batch = make_batch(label_smoothing=0.1)
    torch.rand((), generator=batch.generator)  # whether the step is mixed
    mixed, partners, share = CutMix().mix(batch.images, batch.generator)
    assert 0 < share < 1
    loss, logits = CutMix().loss(training(), make_batch(label_smoothing=0.1))
    assert torch.equal(logits, training()(mixed))
    onehot = torch.eye(5)
    target = (1 - share) * onehot[batch.class_ids] + share * onehot[batch.class_ids[partners]]
    smooth = 0.9 * target + 0.1 / 5
    torch.testing.assert_close(loss, -(smooth * logits.log_softmax(dim=1)).sum(dim=1).mean())


def test_cutmix_mixes_some_of_the_steps():
    batch, classifier = make_batch(count=2, size=4), training().eval()
    plain = classifier(batch.images)
    same = [torch.equal(CutMix(probability=0.3).loss(classifier, batch)[1], plain) for _ in range(300)]
    # Of two images half of the permutations change nothing, and neither do a few boxes without a pixel.
    assert 1 - np.mean(same) == pytest.approx(0.15, abs=0.06)


# ADL.


def test_adl_on_paper():
    # The means of the channels are [[4, 2], [1, 3.6]]: the threshold 0.9 * 4 drops 4, and 3.6 which lies right at it.
    features = torch.tensor([[[[8.0, 4], [0, 4]], [[0, 0], [2, 3.2]]]], dtype=torch.float64)
    attention = features.mean(dim=1, keepdim=True)
    assert attention.flatten().tolist() == [4, 2, 1, 3.6]
    dropped = ADL(drop_threshold=0.9).attend(features, drop=True)
    assert torch.equal(dropped[0], torch.tensor([[[0.0, 4], [0, 0]], [[0, 0], [2, 0]]], dtype=torch.float64))
    weights = 1 / (1 + torch.exp(-torch.tensor([[4.0, 2], [1, 3.6]], dtype=torch.float64)))
    torch.testing.assert_close(ADL().attend(features, drop=False), features * weights)


def test_adl_reads_the_maximum_of_each_image():
    features = torch.stack([torch.tensor([[[1.0, 2, 4]]]), torch.tensor([[[10.0, 20, 40]]])])
    dropped = ADL(drop_threshold=0.6).attend(features, drop=True)
    assert (dropped == 0).flatten(1).tolist() == [[False, False, True]] * 2


@pytest.mark.parametrize("cells", [torch.full((1, 2, 3, 3), 2.0), torch.rand(1, 2, 1, 1) + 1])
def test_adl_of_equal_cells_and_of_one_cell_drops_all(cells):
    assert (ADL().attend(cells, drop=True) == 0).all()


@pytest.mark.parametrize("drop", [True, False])
def test_adl_gradients(drop):
    features = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=gen(), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ADL().attend(x, drop), (features,))


@pytest.mark.parametrize("drop", [True, False])
def test_adl_masks_what_the_head_reads(drop):
    classifier, batch = training(), make_batch()
    method = ADL(drop_rate=float(drop))
    _, logits = method.loss(classifier, batch)
    features = training().backbone(batch.images)
    assert torch.equal(logits, training().head(method.attend(features, drop)))
    assert not torch.equal(logits, training().head(features))


def test_adl_draws_for_each_layer_and_step():
    classifier, method = training(), ADL(layers=["backbone.block1", "backbone"], drop_rate=0.3)
    choices = []
    for seed in range(20):
        rates = torch.rand(2, generator=gen(seed)) < 0.3
        first, second = rates.tolist()
        hidden = method.attend(
            copy.deepcopy(classifier).backbone.block1((make_batch().images / 255 - 0.5) / 0.5), first
        )
        features = copy.deepcopy(classifier).backbone.block2(hidden)
        expected = classifier.head(method.attend(features, second))
        found = method.loss(copy.deepcopy(classifier), make_batch(seed=seed))[1]
        torch.testing.assert_close(found, expected)
        choices.append((first, second))
    assert len(set(choices)) == 4


def test_adl_is_gone_outside_of_its_step(images, class_ids):
    classifier, plain = training(), tiny_classifier(GAP())
    method = ADL(layers=["backbone.block1"])
    method.loss(method.attach(classifier), make_batch())
    classifier.load_state_dict(plain.state_dict())  # the step has moved the batch norms' statistics
    classifier.eval()
    assert torch.equal(classifier(images), plain(images))
    found, expected = (
        CAM("backbone").maps(forward_pass(one, images, ["backbone"]), class_ids[:, None]) for one in (classifier, plain)
    )
    assert torch.equal(found, expected)


def test_adl_takes_its_masks_away_after_an_error():
    classifier, batch = training(), make_batch()
    before = copy.deepcopy(classifier)
    with pytest.raises(IndexError):
        ADL().loss(classifier, replace(batch, class_ids=torch.full((8,), 7)))
    classifier.load_state_dict(before.state_dict())
    assert torch.equal(classifier(batch.images), before(batch.images))


def test_adl_names_layers_that_do_not_exist():
    with pytest.raises(ValueError, match=r"no layer 'backbone.blok1' for ADL; close names: backbone.block1"):
        ADL(layers=["backbone.blok1"]).attach(training())


def test_adl_names_layers_without_cells():
    with pytest.raises(ValueError, match=r"Layer 'fc' of ADL must give \(N, C, h, w\), got \(8, 5\)"):
        ADL(layers=["fc"]).loss(training(), make_batch())


def test_adl_names_layers_that_do_not_run_once():
    classifier = training()
    classifier.backbone.block2.add_module("spare", classifier.backbone.block1[2])
    with pytest.raises(ValueError, match=r"'backbone.block1.2' of ADL must run once in a forward pass, it ran 2 times"):
        ADL(layers=["backbone.block1.2"]).loss(classifier, make_batch())
    unused = training()
    unused.spare = torch.nn.ReLU()
    with pytest.raises(ValueError, match=r"'spare' of ADL must run once in a forward pass, it ran 0 times"):
        ADL(layers=["spare"]).loss(unused, make_batch())


# Random erasing.


@pytest.mark.parametrize(
    ("size", "areas", "aspect"), [(100, (0.02, 0.4), 0.3), (64, (0.3, 1.0), 0.1), (8, (0.1, 0.2), 1)]
)
def test_erasing_paints_one_rectangle_within_its_ranges(size, areas, aspect):
    method = RandomErasing(1.0, *areas, aspect)
    erased = method.erased(500, size, size, gen())[:, 0]
    rows, columns = erased.any(dim=2), erased.any(dim=1)
    assert torch.equal(erased, rows[:, :, None] & columns[:, None, :])
    for line in (rows, columns):  # one interval each
        starts = (line[:, 1:] & ~line[:, :-1]).sum(dim=1) + line[:, 0]
        assert (starts == 1).all()
    height, width = rows.sum(dim=1).double(), columns.sum(dim=1).double()
    slack = 0.5  # sides are rounded
    assert ((height + slack) * (width + slack) >= areas[0] * size**2).all()
    assert ((height - slack) * (width - slack) <= areas[1] * size**2).all()
    assert ((height + slack) / (width - slack) >= aspect).all()
    assert ((height - slack) / (width + slack) <= 1 / aspect).all()


def test_erasing_covers_its_ranges_evenly():
    erased = RandomErasing(1.0, 0.1, 0.3, 0.5).erased(2000, 100, 100, gen())[:, 0]
    area = erased.float().mean(dim=(1, 2))
    assert area.mean().item() == pytest.approx(0.2, abs=0.005)
    assert np.quantile(area, [0.25, 0.75]) == pytest.approx([0.15, 0.25], abs=0.01)
    aspect = erased.any(dim=2).sum(dim=1) / erased.any(dim=1).sum(dim=1)
    assert np.quantile(aspect, [0.02, 0.5, 0.98]) == pytest.approx([0.53, 1.25, 1.97], abs=0.07)
    tops = erased.any(dim=2).int().argmax(dim=1)
    bottoms = erased.any(dim=2).flip(1).int().argmax(dim=1)
    assert tops.min() == bottoms.min() == 0  # both borders are reached
    assert tops.float().mean().item() == pytest.approx(bottoms.float().mean().item(), rel=0.05)


def test_erasing_takes_the_share_of_images_that_is_asked_for():
    erased = RandomErasing(probability=0.3).erased(4000, 8, 8, gen())
    assert erased.flatten(1).any(dim=1).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_erasing_the_whole_image():
    assert RandomErasing(1.0, 1.0, 1.0).erased(5, 9, 9, gen()).all()


@pytest.mark.parametrize("fill", ["mean", "random"])
def test_erasing_changes_nothing_else(fill):
    batch = make_batch(count=20, size=20)
    method = RandomErasing(fill=fill)
    shown, classifier = seen_by(method, batch, mean=(0.485, 0.456, 0.406))
    erased = method.erased(20, 20, 20, gen()).expand_as(shown)
    pixels = to_pixels(classifier, batch.images)
    assert torch.equal(shown[~erased], pixels[~erased])
    if fill == "mean":
        assert torch.equal(shown[erased], mean_color(classifier).expand_as(shown)[erased])
    else:
        noise = shown[erased] * 255
        torch.testing.assert_close(noise, noise.round())
        assert noise.mean().item() == pytest.approx(127.5, abs=8)
        assert noise.std().item() == pytest.approx((256**2 / 12) ** 0.5, abs=5)
        assert noise.round().min() >= 0
        assert noise.round().max() <= 255


# RandAugment.


def test_rand_augment_transforms_each_image_of_its_own():
    same = make_batch(count=1).images.expand(12, -1, -1, -1)
    batch = TrainingBatch(same, torch.zeros(12, dtype=torch.long), gen())
    found = RandAugment(magnitude=20).augmented(training(), batch)
    assert found.dtype == torch.uint8
    assert found.shape == same.shape
    assert len({tuple(image.flatten().tolist()) for image in found}) > 6


def test_rand_augment_without_strength_keeps_shapes():
    # At magnitude 0 no transform of shape moves a pixel: what is left are those without a magnitude.
    gray = torch.full((6, 3, 8, 8), 77, dtype=torch.uint8)
    found = RandAugment(magnitude=0).augmented(training(), TrainingBatch(gray, torch.zeros(6), gen()))
    assert torch.equal(found, gray)


def test_rand_augment_uncovers_the_mean_colour():
    mean = (0.485, 0.456, 0.406)
    classifier = Classifier(Backbone(torch.nn.Sequential(), 3, mean), GAP(), 2)
    white = torch.full((40, 3, 16, 16), 255, dtype=torch.uint8)
    found = RandAugment(num_ops=1, magnitude=30).augmented(classifier, TrainingBatch(white, torch.zeros(40), gen()))
    colors = {tuple(pixel) for pixel in found.permute(0, 2, 3, 1).reshape(-1, 3).tolist()}
    assert (124, 116, 104) in colors  # 255 times the mean
    assert {color for color in colors if len(set(color)) > 1} == {(124, 116, 104)}


def test_rand_augment_needs_bytes():
    batch = make_batch()
    with pytest.raises(ValueError, match=r"RandAugment takes uint8 images, got torch.float32"):
        RandAugment().loss(training(), replace(batch, images=batch.images / 255))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "rand_augment"])
def test_float_images_are_as_good_as_bytes(name):
    batch = make_batch()
    of_bytes, _ = METHODS[name].loss(training(), batch)
    of_floats, _ = METHODS[name].loss(training(), replace(make_batch(), images=batch.images / 255))
    assert torch.equal(of_bytes, of_floats)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@every_method
def test_an_accelerator_draws_the_same(method):
    on_cpu, _ = method.loss(training(), make_batch())
    batch = make_batch()
    moved = replace(batch, images=batch.images.cuda(), class_ids=batch.class_ids.cuda())
    on_gpu, _ = method.loss(training().cuda(), moved)
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-3, atol=1e-3)
