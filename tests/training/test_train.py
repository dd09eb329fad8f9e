import copy
import math
import warnings

import numpy as np
import pytest
import torch

from networks import tiny_classifier
from wsol.data.readers.synthetic import synthetic
from wsol.data.sample import Sample
from wsol.machine import Machine
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.training.train import Checkpointing, TrainSettings, lr_factor, train


class Stripes(torch.utils.data.Dataset):
    """Class 0 has bright rows, class 1 bright columns."""

    def __init__(self, count=24, size=18):
        generator = np.random.default_rng(0)
        self.samples = []
        for index in range(count):
            image = generator.integers(0, 80, (size, size, 3), dtype=np.uint8)
            if index % 2:
                image[:, ::3] += 150
            else:
                image[::3] += 150
            self.samples.append(Sample(image, index % 2, str(index)))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


SETTINGS = TrainSettings(epochs=6, batch_size=8, lr=1e-2)


class DroppingGAP(GAP):
    """The mean of cells of which half are dropped; remembers which."""

    def __init__(self):
        super().__init__()
        self.masks = []

    def forward(self, features):
        mask = torch.nn.functional.dropout(torch.ones_like(features), training=self.training)
        if self.training:
            self.masks.append(mask.flatten())
        return super().forward(features * mask)


def run(classifier, settings=SETTINGS, dataset=None, checkpoint=None, validation=None, seed=3, **machine):
    return train(
        classifier,
        dataset or Stripes(),
        settings,
        seed=seed,
        image_size=16,
        checkpointing=Checkpointing(checkpoint, validation),
        machine=Machine(accelerator="cpu", progress=False, **machine),
    )


def weights(classifier):
    return torch.cat([tensor.flatten().float() for tensor in classifier.state_dict().values()])


@pytest.mark.parametrize("pooling", [GAP, GMP])
@pytest.mark.parametrize(
    "settings", [SETTINGS, TrainSettings(epochs=6, batch_size=8, optimizer="sgd", lr=0.1)], ids=["adamw", "sgd"]
)
def test_it_learns(pooling, settings):
    classifier = tiny_classifier(pooling(), num_classes=2)
    history = run(classifier, settings)
    assert [one["epoch"] for one in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["accuracy"] == 1
    assert not classifier.training


def test_same_seed_same_weights():
    first, again, other = (tiny_classifier(GAP(), 2) for _ in range(3))
    for classifier, seed in ((first, 0), (again, 0), (other, 1)):
        run(classifier, seed=seed)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize(("optimizer", "pooling"), [("adamw", GMP), ("sgd", GMP), ("adamw", DroppingGAP)])
def test_killed_and_resumed_ends_with_the_very_same_weights(tmp_path, optimizer, pooling):
    settings = TrainSettings(epochs=4, batch_size=8, lr=1e-2, optimizer=optimizer, head_lr=0.05, warmup_epochs=0.5)
    uninterrupted = tiny_classifier(pooling(), 2)
    expected = run(uninterrupted, settings)

    class Killed(Exception):
        pass

    class DiesInThirdEpoch(Stripes):
        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            if self.reads > 2.4 * len(self):
                raise Killed
            return super().__getitem__(index)

    with pytest.raises(Killed):
        run(tiny_classifier(pooling(), 2), settings, DiesInThirdEpoch(), checkpoint=tmp_path / "c.ckpt")
    resumed = tiny_classifier(pooling(), 2, seed=99)  # other initial weights: all must come from the checkpoint
    history = run(resumed, settings, checkpoint=tmp_path / "c.ckpt")
    assert torch.equal(weights(resumed), weights(uninterrupted))
    assert [one["loss"] for one in history] == [one["loss"] for one in expected]
    assert [path.name for path in tmp_path.iterdir()] == ["c.ckpt"]


def test_what_is_dropped_depends_on_seed_and_step_alone():
    masks = []
    for seed, before in ((0, 0), (0, 7), (1, 0)):
        classifier = tiny_classifier(DroppingGAP(), 2)
        torch.manual_seed(before)
        run(classifier, TrainSettings(epochs=2, batch_size=8), seed=seed)
        masks.append(torch.stack(classifier.pooling.masks))
    assert torch.equal(masks[0], masks[1])
    assert len(torch.cat([masks[0], masks[2]]).unique(dim=0)) == 2 * 6


def test_torchs_own_generator_goes_on_from_where_it_was():
    classifier = tiny_classifier(DroppingGAP(), 2)
    state = torch.get_rng_state()
    run(classifier, TrainSettings(epochs=1, batch_size=8))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "c.ckpt").write_bytes(b"nonsense")
    with pytest.raises(RuntimeError, match=r"c.ckpt cannot be read .* delete it to start over"):
        run(tiny_classifier(GAP(), 2), checkpoint=tmp_path / "c.ckpt")


def test_divergence_stops_and_writes_no_checkpoint(tmp_path):
    classifier = tiny_classifier(GAP(), 2)
    with torch.no_grad():
        classifier.fc.weight[0, 0] = float("inf")
    with pytest.raises(FloatingPointError, match=r"diverged: loss nan in epoch 1, step 1, .* lower train.lr"):
        run(classifier, SETTINGS, checkpoint=tmp_path / "c.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_learning_rate_far_too_high_is_noticed():
    with pytest.raises(FloatingPointError, match=r"lower train\.lr"):
        run(tiny_classifier(GAP(), 2), TrainSettings(epochs=30, batch_size=8, optimizer="sgd", lr=1e30))


def test_head_and_backbone_have_learning_rates_of_their_own():
    classifier = tiny_classifier(GAP(), 2)
    before = copy.deepcopy(classifier)
    run(classifier, TrainSettings(epochs=1, batch_size=8, lr=1e-9, head_lr=0.1, weight_decay=0))
    moved = {
        name: (a - b).abs().max().item()
        for (name, a), b in zip(classifier.named_parameters(), before.parameters(), strict=True)
    }
    assert moved["fc.weight"] > 0.05
    assert max(change for name, change in moved.items() if name.startswith("backbone")) < 1e-6


@pytest.mark.parametrize(
    ("settings", "at", "expected"),
    [
        ({"schedule": "cosine"}, [0, 6, 12], [1, 0.5, 0]),
        ({"schedule": "step"}, [0, 3.9, 4.1, 8.1, 12], [1, 1, 0.1, 0.01, 0.01]),
        ({"schedule": "constant"}, [0, 12], [1, 1]),
        ({"schedule": "constant", "warmup_epochs": 2}, [1, 2], [0.5, 1]),
        ({"schedule": "cosine", "warmup_epochs": 2}, [1, 2, 7, 12], [0.5, 1, 0.5, 0]),
    ],
)
def test_schedules_on_paper(settings, at, expected):
    found = [lr_factor(epoch, TrainSettings(epochs=12, **settings)) for epoch in at]
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["lr", "head_lr", "weight_decay", "momentum", "warmup_epochs", "label_smoothing"])
def test_settings_that_are_not_finite_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be a finite number, got {value}"):
        TrainSettings(**{name: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adam"}, "optimizer must be adamw or sgd, got 'adam'"),
        ({"schedule": "linear"}, "schedule must be"),
        ({"epochs": 0}, "epochs must be above 0"),
        ({"lr": -1}, "lr must be above 0"),
        ({"head_lr": 0}, "head_lr must be above 0"),
        ({"label_smoothing": 1}, "label_smoothing must lie in"),
        ({"weight_decay": -0.1}, "weight_decay must not be below 0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**settings)


def test_a_last_batch_of_one_image_does_not_break_batch_norm():
    history = run(tiny_classifier(GAP(), 2), TrainSettings(epochs=1, batch_size=8), Stripes(count=17))
    assert len(history) == 1


@pytest.mark.slow
def test_two_devices_share_each_batch(tmp_path):
    torch.manual_seed(0)
    classifier = Classifier(small_cnn(channels=(16, 128)), GAP(), 2)
    assert sum(weight.nbytes for weight in classifier.state_dict().values()) > 2**16  # more than a pipe holds
    before = weights(classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the processes' backends, about this machine
        history = run(classifier, SETTINGS, devices=2, checkpoint=tmp_path / "c.ckpt")
    assert len(history) == 6
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert not torch.equal(weights(classifier), before)
    assert not classifier.training
    with torch.no_grad():
        images = torch.from_numpy(np.stack([one.image for one in Stripes().samples])).permute(0, 3, 1, 2)
    right = classifier(images).argmax(dim=1) == torch.arange(24) % 2
    assert right.float().mean() > 0.9


def test_mixed_precision_learns_and_keeps_float32_weights():
    classifier = tiny_classifier(GAP(), 2)
    history = run(classifier, TrainSettings(epochs=6, batch_size=8, lr=1e-2, precision="bf16-mixed"))
    assert history[-1]["accuracy"] > 0.9
    assert {parameter.dtype for parameter in classifier.parameters()} == {torch.float32}


@pytest.mark.slow
def test_images_may_be_loaded_by_other_processes(tmp_path):
    few = {"train_images": 24, "val_images": 12, "test_images": 12, "cache_dir": tmp_path, "num_classes": 4}
    dataset = synthetic(image_size=16, **few).train
    alone, helped = tiny_classifier(GAP(), 4), tiny_classifier(GAP(), 4)
    for classifier, workers in ((alone, 0), (helped, 2)):
        run(classifier, TrainSettings(epochs=2, batch_size=8), dataset, workers=workers)
    assert torch.equal(weights(alone), weights(helped))
