"""Networks that are scored as they are: the same rows as of the run that trained them, and every bad input."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from small_evaluation import EVALUATION
from wsol.comparison.comparison import measure, read_comparisons
from wsol.comparison.summary import summarize
from wsol.data.readers.synthetic import synthetic
from wsol.explain.faithfulness.average_drop import AverageDrop
from wsol.machine import Machine
from wsol.maps.methods.cam import CAM
from wsol.maps.methods.grad_cam import GradCAM
from wsol.maps.methods.guided_backprop import GuidedBackprop
from wsol.networks.backbones.small_cnn import small_cnn
from wsol.networks.classifier import Classifier
from wsol.networks.pooling.gap import GAP
from wsol.networks.trained.module import module_classifier
from wsol.networks.trained_network import NormalizedNetwork, TrainedNetwork, count_classes
from wsol.report.table_files import write_tables
from wsol.runs import map_parts
from wsol.runs.as_is import AS_IS, NetworkAsIs, admit
from wsol.runs.experiment import Experiment
from wsol.runs.folder import load_maps
from wsol.runs.pipeline import run_experiment, run_network
from wsol.training.train import TrainSettings

CLASSES = 4


def build(classes: int = CLASSES) -> Classifier:
    return Classifier(small_cnn(channels=(4, 6)), GAP(), classes)


class Reordered(nn.Module):
    """A trained classifier whose outputs are in another order, with one more class."""

    def __init__(self, classifier: Classifier, order: list[int]) -> None:
        super().__init__()
        self.trunk, self.pooling = classifier.backbone, classifier.pooling
        self.fc = nn.Linear(classifier.fc.in_features, len(order) + 1)
        with torch.no_grad():
            self.fc.weight[:-1], self.fc.bias[:-1] = classifier.fc.weight[order], classifier.fc.bias[order]
            self.fc.weight[-1], self.fc.bias[-1] = 0, -100

    def forward(self, images):
        return self.fc(self.pooling(self.trunk(images)))


class World:
    """A results folder with a network that this suite trained."""

    def __init__(self, folder):
        self.folder, self.data = folder, {"size": 16}
        self.machine = Machine(folder / "results", accelerator="cpu", progress=False)
        self.splits = synthetic(
            image_size=16,
            num_classes=CLASSES,
            train_images=200,
            val_images=40,
            test_images=60,
            cache_dir=folder / "cache",
        )

    def train(self, evaluation=EVALUATION):
        experiment = Experiment(
            data="synthetic",
            backbone="tiny",
            pooling="gap",
            seed=0,
            settings={"data": self.data, "backbone": {}, "pooling": {}},
            train=TrainSettings(epochs=8, batch_size=8, lr=4e-3, head_lr=3e-2),
            image_size=16,
            pooling_layer=GAP(),
        )
        rows = run_experiment(experiment, self.splits, build, evaluation, self.machine)
        (folder,) = (self.folder / "results" / "runs").glob("synthetic-tiny-*")
        return rows, folder / "classifier.pt"

    def score(self, trained, evaluation=EVALUATION, machine=None, named=(), **settings):
        settings = {"data": self.data, "network": {"option": "module"}, **settings}
        as_is = NetworkAsIs("synthetic", trained, settings, image_size=16)
        return run_network(as_is, self.splits, evaluation, machine or self.machine, "test", named)

    @property
    def as_is_folders(self):
        folders = (self.folder / "results" / "runs").glob("synthetic-*")
        return [path for path in folders if "tiny" not in path.name and "baselines" not in path.name]


@pytest.fixture(scope="module")
def trained_world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.rows, world.weights = world.train()
    return world


@pytest.fixture
def world(trained_world, tmp_path):
    """The trained network, and a results folder of one's own."""
    own = World(tmp_path)
    own.splits, own.rows, own.weights = trained_world.splits, trained_world.rows, trained_world.weights
    return own


def loaded(weights, **settings):
    """The trained network through the door for networks of one's own."""
    own = {"image_size": 16, "mean": (0, 0, 0), "std": (1, 1, 1)}
    return module_classifier("test_as_is_builders:build", weights, **{**own, **settings})


@pytest.fixture(autouse=True)
def builders(tmp_path, monkeypatch):
    """A module that the command line may name."""
    import sys
    import types

    module = types.ModuleType("test_as_is_builders")
    module.build = build
    monkeypatch.setitem(sys.modules, "test_as_is_builders", module)


def values(rows):
    return rows.set_index(["map", "score"])["value"].sort_index()


class TestTheSameRows:
    def test_as_of_the_run_that_trained_the_network(self, world):
        rows = world.score(loaded(world.weights))
        # Gradients come from autograd in place of the closed form, so that a threshold may flip on an image.
        pd.testing.assert_series_equal(values(rows), values(world.rows), check_exact=False, atol=1 / 60)
        of_cam = values(rows)["cam"]
        pd.testing.assert_series_equal(of_cam, values(world.rows)["cam"])
        assert values(world.rows)["cam", "top1_cls"] > 0.35  # chance is 0.25
        facts = rows.drop_duplicates("map").set_index("map")
        assert facts.loc["grad_cam", "same_as"] == "same as cam up to ReLU"
        assert (rows["status"] == "").all()

    @pytest.mark.parametrize("wrapped", ["module.", "under a key", "safetensors", "_orig_mod.module."])
    def test_from_every_form_of_a_state_dict(self, world, tmp_path, wrapped):
        state = torch.load(world.weights, weights_only=True)["classifier"]
        file = tmp_path / "best.pth"
        if wrapped == "safetensors":
            file = tmp_path / "best.safetensors"
            save_file({key: tensor.contiguous() for key, tensor in state.items()}, file)
        elif wrapped == "under a key":
            torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}}, file)
        else:
            torch.save({f"{wrapped}{key}": tensor for key, tensor in state.items()}, file)
        trained = loaded(file)
        assert trained.name == "best"
        assert trained.weights_digest == loaded(world.weights).weights_digest

    def test_with_the_classes_in_another_order_and_more_of_them(self, world):
        classifier, order = loaded(world.weights).network.network, [2, 0, 3, 1]
        names = (*(world.splits.class_names[place] for place in order), "another class")
        network = NormalizedNetwork(Reordered(classifier, order).eval(), (0, 0, 0), (1, 1, 1))
        rows = world.score(TrainedNetwork("reordered", network, 16, names))
        pd.testing.assert_series_equal(values(rows)["cam"], values(world.rows)["cam"])
        pd.testing.assert_series_equal(values(rows), values(world.rows), check_exact=False, atol=1 / 60)
        (folder,) = world.as_is_folders
        predictions = pd.read_parquet(folder / "predictions-test.parquet")
        assert predictions["top5_class_ids"].map(lambda ids: sorted(ids) == list(range(5))).all()

    def test_faithfulness_asks_for_the_same_class(self, world):
        evaluation = replace(EVALUATION, maps={"cam": CAM()}, faithfulness={"average_drop": AverageDrop()})
        classifier, order = loaded(world.weights).network.network, [2, 0, 3, 1]
        names = (*(world.splits.class_names[place] for place in order), "another class")
        plain = values(world.score(loaded(world.weights), evaluation))
        network = NormalizedNetwork(Reordered(classifier, order).eval(), (0, 0, 0), (1, 1, 1))
        again = values(world.score(TrainedNetwork("reordered", network, 16, names), evaluation))
        pd.testing.assert_series_equal(plain, again, rtol=1e-4)


class TestTables:
    def test_two_networks_share_a_table_without_a_seed(self, world, tmp_path):
        world.score(loaded(world.weights))
        torch.manual_seed(1)
        world.score(TrainedNetwork("random", NormalizedNetwork(build().eval(), (0, 0, 0), (1, 1, 1)), 16))
        results = world.machine.results
        (comparison,) = read_comparisons(results)
        assert set(comparison.rows["pooling"]) == {"classifier", "random", "none"}
        measured = measure(comparison.lines(results))
        assert {score.seeds for by_score in measured.values() for score in by_score.values()} == {(None,)}
        assert not any(score.is_one_training for by_score in measured.values() for score in by_score.values())
        summary = summarize(comparison.rows, measured).query("pooling != 'none'")
        assert set(summary["seeds"]) == {0}
        assert summary.query("score == 'top1_cls'")["half_width"].notna().all()
        text = write_tables(results, comparison, tmp_path)["md"].read_text()
        assert "nothing was trained, so there are no seeds: classifier (weights " in text
        assert "of the test images alone, because nothing was trained" in text
        assert text.startswith("| network ")
        assert "Seeds:" not in text
        assert "training seeds" not in text
        settings = [json.loads((folder / "settings.json").read_text()) for folder in world.as_is_folders]
        assert [run["seed"] for run in settings] == [None, None]
        assert {run["backbone"] for run in settings} == {AS_IS}
        assert all("train" not in run["identity"] for run in settings)

    def test_other_weights_are_another_run(self, world):
        world.score(loaded(world.weights))
        torch.manual_seed(1)
        world.score(TrainedNetwork("classifier", NormalizedNetwork(build().eval(), (0, 0, 0), (1, 1, 1)), 16))
        assert len(world.as_is_folders) == 2

    def test_a_name_of_other_rows_is_refused(self, world):
        for name in ("none", "few_shot_5"):
            with pytest.raises(ValueError, match=f"may not be called '{name}'"):
                world.score(replace(loaded(world.weights), name=name))


class TwoLayers(nn.Module):
    """No ReLU, and two linear layers behind the mean, so that CAM and guided backpropagation are undefined."""

    def __init__(self, outputs=CLASSES):
        super().__init__()
        self.conv, self.first, self.last = nn.Conv2d(3, 6, 3, 2), nn.Linear(6, 6), nn.Linear(6, outputs)

    def forward(self, images):
        return self.last(torch.tanh(self.first(torch.tanh(self.conv(images)).mean(dim=(2, 3)))))


def trained(network, name="other", **settings):
    return TrainedNetwork(name, NormalizedNetwork(network.eval(), (0.5,) * 3, (0.5,) * 3), 16, **settings)


MAPS = {"cam": CAM(), "grad_cam": GradCAM(), "guided_backprop": GuidedBackprop()}


class TestMaps:
    def admitted(self, world, maps, named=()):
        return admit(NetworkAsIs("synthetic", trained(TwoLayers()), {}, 16), world.splits, maps, named)

    def test_a_named_method_is_refused_with_what_works(self, world):
        with pytest.raises(
            ValueError, match=r"other does not admit cam, guided_backprop\. cam: CAM needs .*What works:"
        ):
            self.admitted(world, MAPS, named=["cam"])

    def test_a_listed_method_is_left_out_and_logged(self, world, caplog):
        as_is, methods = self.admitted(world, MAPS)
        assert list(methods) == ["grad_cam"]
        assert methods["grad_cam"].target_layer == as_is.target_layer == "network.conv"
        assert as_is.pooling_layer is None
        assert "cam is left out, because other does not admit it: CAM needs" in caplog.text
        assert "guided_backprop is left out" in caplog.text

    def test_no_method_at_all(self, world):
        with pytest.raises(ValueError, match="What works: none of those that were asked for"):
            self.admitted(world, {"cam": CAM()})

    def test_rows_of_the_admitted_ones_alone(self, world):
        rows = world.score(trained(TwoLayers()))
        assert set(rows["map"]) == {"grad_cam"}
        again = world.score(trained(TwoLayers()))
        assert set(again["map"]) == {"grad_cam"}


class TestBadNetworks:
    def test_shapes_that_do_not_fit(self, world, tmp_path):
        torch.save(build(classes=7).state_dict(), tmp_path / "seven.pth")
        message = (
            r"seven.pth does not fit Classifier: fc.weight is \(7, 6\), not \(4, 6\); fc.bias is \(7,\), not \(4,\)"
        )
        with pytest.raises(ValueError, match=message):
            loaded(tmp_path / "seven.pth")

    def test_names_that_do_not_fit(self, tmp_path):
        torch.save({f"layer{n}.weight": torch.zeros(1) for n in range(5)}, tmp_path / "other.pth")
        with pytest.raises(
            ValueError, match=r"lacks .* and \d+ more and also has layer0.weight, .* and 2 more\. Build"
        ):
            loaded(tmp_path / "other.pth")

    def test_files_that_are_no_weights(self, world, tmp_path):
        torch.save(build(), tmp_path / "whole.pth")  # a pickled network, which would run code
        with pytest.raises(
            ValueError, match=r"whole.pth cannot be read as weights alone .*save network.state_dict\(\)"
        ):
            loaded(tmp_path / "whole.pth")
        torch.save({"epoch": 3}, tmp_path / "empty.pth")
        with pytest.raises(ValueError, match=r"empty.pth holds no state dict, .* it holds epoch"):
            loaded(tmp_path / "empty.pth")
        (tmp_path / "text.safetensors").write_text("text")
        with pytest.raises(ValueError, match="cannot be read as weights alone"):
            loaded(tmp_path / "text.safetensors")
        with pytest.raises(FileNotFoundError, match="no file of weights"):
            loaded(tmp_path / "missing.pth")

    def test_weights_with_nan(self, world):
        network = build()
        with torch.no_grad():
            network.fc.bias[1] = float("nan")
        with pytest.raises(ValueError, match=r"The weights of Classifier hold NaN or infinity: network.fc.bias\. Load"):
            world.score(trained(network))

    @pytest.mark.parametrize(
        ("network", "message"),
        [
            (nn.Sequential(nn.Conv2d(3, 4, 3)), r"must give logits \(1, K\) for one image, got \(1, 4, 14, 14\)"),
            (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(9, 4)), "does not take images of 16 x 16 px"),
        ],
    )
    def test_no_logits(self, world, network, message):
        with pytest.raises(ValueError, match=message):
            world.score(trained(network))

    def test_several_outputs(self):
        class Two(TwoLayers):
            def forward(self, images):
                return super().forward(images), images

        with pytest.raises(ValueError, match=r"Two must give logits .* got tuple; name a class"):
            count_classes(trained(Two()).network, 16)

    def test_a_builder_that_is_none(self, tmp_path):
        with pytest.raises(ImportError, match=r"no_such_package cannot be imported .* PYTHONPATH"):
            module_classifier("no_such_package:build")
        with pytest.raises(ValueError, match=r"must be package.module:function, got 'math'"):
            module_classifier("math")
        with pytest.raises(ValueError, match="math has no function 'build'"):
            module_classifier("math:build")
        with pytest.raises(ValueError, match=r"must return a torch.nn.Module, got float"):
            module_classifier("time:time")

    def test_a_list_of_classes_that_does_not_fit(self, world, tmp_path):
        file = tmp_path / "classes.txt"
        file.write_text("one\ntwo\n")
        with pytest.raises(ValueError, match="list of classes has 2 names, and the network gives 4 logits"):
            world.score(loaded(world.weights, classes=file))
        file.write_text("one\ntwo\nthree\nfour\n")
        with pytest.raises(ValueError, match=r"The network has no class 'species 0', .* and 1 more of the data set"):
            world.score(loaded(world.weights, classes=file))
        with pytest.raises(FileNotFoundError, match="no list of classes"):
            loaded(world.weights, classes=tmp_path / "none.txt")

    def test_a_number_of_outputs_that_fits_no_list(self, world):
        with pytest.raises(ValueError, match=r"gives 5 logits, and the data set has 4 classes; name .*network.classes"):
            world.score(trained(TwoLayers(5)))


IN_PARTS = {"accelerator": "cpu", "progress": False, "batch_size": 8}


class TestParts:
    """A split is read part by part, so that a stopped pass goes on."""

    @pytest.fixture(autouse=True)
    def small_parts(self, monkeypatch):
        monkeypatch.setattr(map_parts, "_AT_ONCE", 16)

    def test_parts_give_the_files_of_one_pass(self, world, monkeypatch):
        machine = Machine(world.folder / "parts", **IN_PARTS)
        world.score(loaded(world.weights), machine=machine)
        monkeypatch.setattr(map_parts, "_AT_ONCE", 1024)
        whole = Machine(world.folder / "whole", **IN_PARTS)
        world.score(loaded(world.weights), machine=whole)
        files = [sorted(path.results.rglob("*.npz")) for path in (machine, whole)]
        assert [path.name for path in files[0]] == [path.name for path in files[1]]
        assert len(files[0]) == 4
        for first, second in zip(*files, strict=True):
            one, other = load_maps(first), load_maps(second)
            assert np.array_equal(one.values, other.values)
            assert np.array_equal(one.scale, other.scale)
            assert np.array_equal(one.image_ids, other.image_ids)
        frames = [pd.read_parquet(next(path.results.rglob("predictions-test.parquet"))) for path in (machine, whole)]
        pd.testing.assert_frame_equal(*frames)
        assert frames[0].attrs["size"] == frames[1].attrs["size"]
        assert not list(machine.results.rglob("*.part-*"))

    def test_a_pass_that_was_stopped_goes_on_behind_its_last_part(self, world, monkeypatch):
        machine = Machine(world.folder / "stopped", **IN_PARTS)
        made = []
        make = map_parts.make_maps

        def make_three(network, images, methods, machine, places):
            if len(made) == 3:
                raise KeyboardInterrupt
            made.append((images.name, places))
            return make(network, images, methods, machine, places)

        monkeypatch.setattr(map_parts, "make_maps", make_three)
        with pytest.raises(KeyboardInterrupt):
            world.score(loaded(world.weights), machine=machine)
        stopped = list(made)

        def make_rest(network, images, methods, machine, places):
            made.append((images.name, places))
            return make(network, images, methods, machine, places)

        monkeypatch.setattr(map_parts, "make_maps", make_rest)
        rows = world.score(loaded(world.weights), machine=machine)
        assert len(made) == len(set(made)) == 3 + 4  # val has 40 images, test 60, in parts of 16
        assert made[: len(stopped)] == stopped
        pd.testing.assert_series_equal(values(rows)["cam"], values(world.rows)["cam"])

    def test_a_damaged_part_is_made_again(self, world, monkeypatch):
        machine = Machine(world.folder / "damaged", **IN_PARTS)
        save = map_parts.StoredMaps.join
        monkeypatch.setattr(map_parts.StoredMaps, "join", lambda parts, path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.score(loaded(world.weights), machine=machine)
        part = next(machine.results.rglob("val-cam-*.part-*.npz"))
        part.write_bytes(part.read_bytes()[:100])
        monkeypatch.setattr(map_parts.StoredMaps, "join", save)
        rows = world.score(loaded(world.weights), machine=machine)
        pd.testing.assert_series_equal(values(rows)["cam"], values(world.rows)["cam"])
