"""Run folders and data sets from somebody else: nothing in them runs, and nothing is written or read elsewhere."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning_fabric import Fabric
from omegaconf import OmegaConf
from PIL import Image

import compare
import data
import explain
import generic_features
import pooling_axis
import report
import units
from commands import run_command
from config.build import _places, build_data
from config.options import CONF, check_target, command_words, saved_node
from config.saved_runs import configuration, end
from networks import tiny_classifier
from trees import make_cub, make_tiny_imagenet, write_image
from wsol import identity
from wsol.atomic_files import file_name_part
from wsol.data.decode import read_image
from wsol.data.ground_truth import GroundTruth, same_size
from wsol.data.imagenet import boxes as imagenet_boxes
from wsol.data.readers.coco import coco
from wsol.data.readers.cub import cub
from wsol.data.readers.folder import folder as folder_reader
from wsol.data.readers.tiny_imagenet import tiny_imagenet
from wsol.networks.pooling.gap import GAP
from wsol.runs.folder import RunFolder, load_classifier, read_rows
from wsol.scoring.external.maps import find_maps
from wsol.training.train import _resume

ROOT = Path(__file__).parents[2]
PAYLOAD = """
from pathlib import Path
MARKER = Path(__file__).with_name("ran")
MARKER.touch()
def call(*args, **kwargs):
    MARKER.touch()
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The results folder of a smoke run of a head that is tested as another one; to be read, not written."""
    folder = tmp_path_factory.mktemp("trained")
    sizes = ["data.train_images=12", "data.val_images=12", "data.test_images=12", "data.image_size=32"]
    words = ["sweep=smoke", *sizes, "data.num_classes=4"]
    words += [f"machine.results={folder / 'results'}", "machine.accelerator=cpu", "thresholds.step=0.1"]
    run_command("run.py", *words, "pooling=gap", "method=has", "pooling_at_test=null,gmp")
    return folder / "results"


@pytest.fixture
def results(trained, tmp_path):
    shutil.copytree(trained / "runs", tmp_path / "results" / "runs")
    return tmp_path / "results"


@pytest.fixture
def payload(tmp_path, monkeypatch):
    """The file that appears if a module that only a received file names is imported or called."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "payload.py").write_text(PAYLOAD)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    yield tmp_path / "code" / "ran"
    sys.modules.pop("payload", None)


def run_of(results, tested_as=""):
    """The folder of the run, or of the one that tests it with another pooling."""
    return next(path for path in (results / "runs").glob("*gap*") if ("tested_as" in path.name) == bool(tested_as))


def call(monkeypatch, command, words):
    """Run a command in this process, as its file does; returns its exit status."""
    monkeypatch.setattr(sys, "argv", [f"benchmarks/{command}.py", *map(str, words)])
    if command == "report":
        return end(lambda: report.report(report.read_arguments(command_words())))
    if command == "pooling_axis":
        return end(lambda: pooling_axis.draw_axis(pooling_axis.read_arguments(command_words())))
    if command == "compare":
        return end(lambda: compare.compare(command_words()))
    module = {"explain": explain, "units": units, "generic_features": generic_features}[command]
    return module.main()


def words_of(command, results, tmp_path, tested_as=""):
    folder, out = run_of(results, tested_as), tmp_path / "out"
    image = tmp_path / "image.png"
    write_image(image)
    small = ["data.train_images=8", "data.val_images=4", "data.test_images=4", "data.num_classes=4"]
    return {
        "explain": [folder, image, "--out", out, "machine.accelerator=cpu"],
        "units": [folder, "class=0", "--out", out, "machine.accelerator=cpu"],
        "generic_features": [folder, *small, "data.image_size=32", "machine.accelerator=cpu", "machine.progress=false"],
        "report": [f"results={results}", f"out={out}", "figures=no", "gallery=3", "claims=none"],
        "pooling_axis": [f"results={results}", f"out={out}", "figures=no"],
        "compare": ["pooling=gap+has", "pooling=gap_tested_as_gmp+has", "map=cam", f"results={results}"],
    }[command]


COMMANDS = ("explain", "units", "generic_features", "report", "pooling_axis", "compare")
HOSTILE = {
    "target": {"_target_": "payload.call"},
    "target_in_option": {"option": "small_cnn", "_target_": "payload.call"},
    "nested": {"channels": {"_target_": "payload.call"}},
    "in_a_list": {"channels": [{"_target_": "payload.call"}]},
    "path_as_option": {"option": "../../code/payload"},
    "torch_load": {"_target_": "torch.load", "f": "x"},
    "partial": {"_partial_": True, "_args_": ["payload.call"]},
    "interpolation": {"name": "${oc.env:HOME}"},
}
PARTS = ("backbone", "pooling", "method", "pooling_at_test", "data", "reader")
READ = {"report": ("data", "reader"), "compare": ("backbone",)}  # of these; the other commands read all


class TestSettings:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_commands_work_on_an_honest_folder(self, command, results, payload, tmp_path, monkeypatch):
        assert call(monkeypatch, command, words_of(command, results, tmp_path)) == 0

    @pytest.mark.parametrize("command", COMMANDS)
    def test_nothing_that_settings_name_runs(self, command, results, payload, tmp_path, monkeypatch):
        target = {"_target_": "payload.call"}
        for part in READ.get(command, PARTS):
            for folder in (results / "runs").iterdir():
                file = folder / "settings.json"
                settings = json.loads(file.read_text())
                if "identity" not in settings:
                    continue
                for place in (settings, settings["identity"], settings["identity"]["data"]):
                    for name in (part, "settings"):
                        if name in place and isinstance(place[name], dict):
                            place[name] = {**place[name], **target, "channels": target, "root": target}
                file.write_text(json.dumps(settings))
            call(monkeypatch, command, words_of(command, results, tmp_path))
            assert not payload.exists()

    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_settings_that_are_no_data_are_refused(self, hostile, payload, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["explain.py"])
        with pytest.raises(ValueError, match=r"settings from a file are data|there is no backbone="):
            saved_node("backbone", {"option": "small_cnn", **HOSTILE[hostile]}, "settings.json")
        with pytest.raises(ValueError, match="names no option of backbone"):
            saved_node("backbone", {"_target_": "payload.call"}, "settings.json")
        assert not payload.exists()

    def test_a_refusal_names_the_file_and_the_setting(self, results, payload, tmp_path, monkeypatch, capsys):
        file = run_of(results) / "settings.json"
        settings = json.loads(file.read_text())
        settings["identity"]["backbone"]["channels"] = {"_target_": "payload.call"}
        file.write_text(json.dumps(settings))
        assert call(monkeypatch, "explain", words_of("explain", results, tmp_path)) == 2
        error = capsys.readouterr().err
        assert f"{file}: backbone.channels._target_" in error
        assert error.count("\n") == 1
        assert not payload.exists()

    @pytest.mark.parametrize("command", ["report", "pooling_axis", "compare"])
    def test_nothing_that_a_protocol_names_runs(self, command, results, payload, tmp_path, monkeypatch):
        for part in ("scores", "protocol"):
            for file in (results / "runs").glob("*/protocol-*.json"):
                protocol = json.loads(file.read_text())
                if part == "protocol":
                    protocol["settings"]["protocol"]["of"] = "payload.call"
                else:
                    for score in protocol["settings"]["scores"].values():
                        score["function"]["of"] = "payload.call"
                file.write_text(json.dumps(protocol))
            call(monkeypatch, command, words_of(command, results, tmp_path))
            assert not payload.exists()

    def test_a_cache_folder_of_the_sender_is_not_written(self, results, tmp_path, monkeypatch):
        file = run_of(results) / "settings.json"
        settings = json.loads(file.read_text())
        settings["reader"]["cache_dir"] = str(tmp_path / "elsewhere")
        file.write_text(json.dumps(settings))
        assert call(monkeypatch, "units", words_of("units", results, tmp_path)) == 0
        assert not (tmp_path / "elsewhere").exists()


class TestOwnOptions:
    @pytest.fixture
    def own(self, tmp_path, monkeypatch):
        """A pooling and a score from outside, in a configuration folder of the user's own."""
        code = tmp_path / "own_code"
        code.mkdir()
        (code / "my_pooling.py").write_text(
            "from wsol.networks.pooling.gap import GAP\n\n"
            "class Mine(GAP):\n    def __init__(self, power: float = 1.0):\n"
            "        super().__init__()\n        self.power = power\n"
        )
        (tmp_path / "own" / "pooling").mkdir(parents=True)
        (tmp_path / "own" / "pooling" / "mine.yaml").write_text("_target_: my_pooling.Mine\npower: 1.0\n")
        monkeypatch.syspath_prepend(str(code))
        monkeypatch.setattr(identity, "_admitted", {})
        yield tmp_path / "own"
        sys.modules.pop("my_pooling", None)

    def test_they_need_the_users_own_configuration(self, own, results, tmp_path, monkeypatch, capsys):
        file = run_of(results) / "settings.json"
        settings = json.loads(file.read_text())
        settings["identity"]["pooling"] = {"option": "mine", "power": 2.0}
        file.write_text(json.dumps(settings))
        words = words_of("explain", results, tmp_path)
        assert call(monkeypatch, "explain", words) == 2
        assert "there is no pooling=mine" in capsys.readouterr().err
        assert "my_pooling" not in sys.modules
        assert call(monkeypatch, "explain", [*words, "--config-dir", own]) == 0

    def test_a_configuration_reads_them(self, own, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["explain.py", f"--config-dir={own}"])
        assert configuration(["pooling=mine"]).pooling._target_ == "my_pooling.Mine"

    def test_a_folder_that_is_not_there_is_named(self, monkeypatch, capsys):
        assert call(monkeypatch, "report", ["--config-dir", "nowhere"]) == 2
        assert "no configuration folder nowhere" in capsys.readouterr().err

    def test_a_target_on_the_command_line_is_refused(self):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("run", overrides=["pooling._target_=my_pooling.Mine"])
        with pytest.raises(ValueError, match=r"pooling=gap stands for wsol\..*--config-dir"):
            check_target("pooling", "gap", cfg.pooling)


class TestPaths:
    @pytest.mark.parametrize("column", ["run", "comparison", "baselines", "protocol_key", "map"])
    def test_names_of_rows_do_not_leave_the_results(self, column, results, tmp_path, monkeypatch, capsys):
        before = {path for path in tmp_path.rglob("*") if results not in path.parents}
        for file in (results / "runs").glob("*/scores-*.csv"):
            rows = pd.read_csv(file, keep_default_na=False).assign(**{column: "../../escaped"})
            rows.to_csv(file, index=False)
        assert call(monkeypatch, "report", words_of("report", results, tmp_path)) == 1
        after = {path for path in tmp_path.rglob("*") if results not in path.parents}
        assert not [path for path in after - before if "escaped" in path.name]

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "/x", "a\\b", "a\0b", "a\nb", "x" * 256, None, 3])
    def test_a_name_that_is_no_part_of_a_file_name_is_refused(self, name, tmp_path):
        with pytest.raises(ValueError, match="name"):
            file_name_part(name, "a run")
        if isinstance(name, str):
            with pytest.raises(ValueError, match="name"):
                RunFolder.named(tmp_path, name)

    def test_the_rows_name_their_file(self, results):
        file = next((results / "runs").glob("*/scores-*.csv"))
        pd.read_csv(file, keep_default_na=False).assign(comparison="../../x").to_csv(file, index=False)
        with pytest.raises(ValueError, match=rf"{file.name}.*'\.\./\.\./x'.*'comparison'"):
            read_rows(file)


def test_a_checkpoint_that_is_a_pickle_runs_nothing(payload, tmp_path, monkeypatch):
    class Attack:
        def __reduce__(self):
            return (Path.touch, (payload,))

    torch.save({"classifier": Attack()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Attack(), protocol=2))
    for file in (tmp_path / "zip.pt", tmp_path / "plain.pt"):
        with pytest.raises(pickle.UnpicklingError):
            load_classifier(file, tiny_classifier(GAP()))
        with pytest.raises(RuntimeError, match=r"cannot be read .*delete it to start over"):
            _resume(Fabric(accelerator="cpu", devices=1), file, {})
    assert not payload.exists()
    sources = [*(ROOT / "wsol").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    loads = [line for path in sources for line in path.read_text().splitlines() if ".load(" in line]
    loads = [line for line in loads if "torch.load(" in line or "fabric.load(" in line]
    assert loads
    assert all("weights_only=True" in line for line in loads)


class TestImages:
    EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"

    def test_no_other_program_is_started_on_a_file(self, tmp_path, monkeypatch):
        started = []
        monkeypatch.setattr(subprocess, "Popen", lambda *words, **options: started.append(words))
        (tmp_path / "bird.jpg").write_bytes(self.EPS)
        for source in (tmp_path / "bird.jpg", self.EPS):
            with pytest.raises(ValueError, match="cannot be decoded"):
                read_image(source, "row 3")
        assert not started

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
    def test_the_usual_formats_are_read(self, kind, tmp_path):
        Image.fromarray(np.full((4, 5, 3), 128, np.uint8)).save(tmp_path / "image", kind)
        assert read_image(tmp_path / "image").shape == (4, 5, 3)

    @pytest.mark.parametrize("reader", ["image", "map", "xml"])
    def test_a_named_pipe_hangs_nothing(self, reader, tmp_path):
        pipe = tmp_path / {"image": "a.jpg", "map": "a.npy", "xml": "a.xml"}[reader]
        os.mkfifo(pipe)
        box = np.float32([[0, 0, 1, 1]])
        truth = GroundTruth(np.array(["a.jpg"]), np.zeros(1, np.int64), [box], same_size(1, (4, 4)))
        read = {
            "image": lambda: read_image(pipe),
            "map": lambda: find_maps(tmp_path, truth).read(0),
            "xml": lambda: imagenet_boxes._read(pipe),
        }[reader]
        errors = []

        def attempt():
            try:
                read()
            except ValueError as error:
                errors.append(str(error))

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(20)
        assert len(errors) == 1, "it hangs, or raises something else"
        assert "named pipe" in errors[0]


def replace_line(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def secret(tmp_path):
    """An image beside the data set, which nothing in the data set may name."""
    (tmp_path / "private").mkdir()
    write_image(tmp_path / "private" / "secret.jpg")
    return tmp_path / "private" / "secret.jpg"


class TestDataSets:
    def test_an_id_of_cub_stays_inside(self, secret, tmp_path):
        root = make_cub(tmp_path / "data")
        base = root if (root / "images.txt").exists() else next((tmp_path / "data").rglob("images.txt")).parent
        first = (base / "images.txt").read_text().splitlines()[0].split()[1]
        replace_line(base / "images.txt", first, "../../../private/secret.jpg")
        with pytest.raises(ValueError, match=r"images.txt, line 1: the path .* leaves the folder"):
            cub(tmp_path / "data", image_size=16, train_size=18)

    def test_an_id_of_tiny_imagenet_stays_inside(self, secret, tmp_path):
        make_tiny_imagenet(tmp_path / "data")
        boxes = next((tmp_path / "data").rglob("*_boxes.txt"))
        first = boxes.read_text().split("\t")[0]
        replace_line(boxes, first, "../../../../../private/secret.jpg")
        with pytest.raises(ValueError, match=r"_boxes.txt, line 1: the path .* leaves the folder"):
            tiny_imagenet(tmp_path / "data", image_size=16, train_size=18)

    def test_a_class_of_tiny_imagenet_stays_inside(self, secret, tmp_path):
        make_tiny_imagenet(tmp_path / "data")
        wnids = next((tmp_path / "data").rglob("wnids.txt"))
        replace_line(wnids, wnids.read_text().split("\n")[0], "../../private")
        with pytest.raises(ValueError, match=r"wnids.txt, line 1: the path .* leaves the folder"):
            tiny_imagenet(tmp_path / "data", image_size=16, train_size=18)

    @pytest.mark.parametrize("name", ["../private/secret.jpg", "/private/secret.jpg", "C:/secret.jpg"])
    def test_an_id_of_the_other_readers_stays_inside(self, name, secret, tmp_path):
        root = tmp_path / "data"
        (root / "a").mkdir(parents=True)
        for number in range(3):
            write_image(root / "a" / f"{number}.jpg")
        (root / "boxes.csv").write_text(f"image,x0,y0,x1,y1\n{name},1,1,5,5\n")
        with pytest.raises(ValueError, match="leaves the folder"):
            folder_reader(root, root / "boxes.csv", image_size=16, train_size=18)
        document = {
            "images": [{"id": 1, "file_name": name, "width": 40, "height": 30}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
            "categories": [{"id": 1, "name": "a"}],
        }
        (root / "all.json").write_text(json.dumps(document))
        with pytest.raises(ValueError, match="leaves the folder"):
            coco(root, root / "all.json", image_size=16, train_size=18)

    @pytest.mark.parametrize("what", ["file", "folder"])
    def test_a_link_out_of_the_data_set_is_refused(self, what, secret, tmp_path, monkeypatch):
        make_cub(tmp_path / "data")
        species = next(path for path in (tmp_path / "data").rglob("images/*") if path.is_dir())
        image = sorted(species.iterdir())[0]
        if what == "file":
            image.unlink()
            image.symlink_to(secret)
        else:
            shutil.move(species, tmp_path / "private" / "moved")
            species.symlink_to(tmp_path / "private" / "moved")
        words = ["data=cub", f"machine.data_root={tmp_path / 'data'}", "data.image_size=16", "data.train_size=18"]
        monkeypatch.setattr(sys, "argv", ["run.py"])
        cfg = configuration(words)
        with pytest.raises(ValueError, match=r"leads out of .* machine.follow_links=true"):
            build_data(cfg.data, cfg.machine)
        cfg = configuration([*words, "machine.follow_links=true"])
        assert len(build_data(cfg.data, cfg.machine).test)

    def test_a_link_inside_the_data_set_and_a_linked_root_are_fine(self, tmp_path, monkeypatch):
        make_cub(tmp_path / "data")
        (tmp_path / "link").symlink_to(tmp_path / "data")
        species = next(path for path in (tmp_path / "data").rglob("images/*") if path.is_dir())
        image = sorted(species.iterdir())[0]
        image.rename(tmp_path / "data" / "kept.jpg")
        image.symlink_to(tmp_path / "data" / "kept.jpg")
        monkeypatch.setattr(sys, "argv", ["run.py"])
        words = ["data=cub", f"machine.data_root={tmp_path / 'link'}", "data.image_size=16", "data.train_size=18"]
        cfg = configuration(words)
        assert len(build_data(cfg.data, cfg.machine).test)

    def test_the_check_refuses_links_too(self, secret, tmp_path, monkeypatch, capsys):
        make_cub(tmp_path / "data")
        species = next(path for path in (tmp_path / "data").rglob("images/*") if path.is_dir())
        image = sorted(species.iterdir())[0]
        image.unlink()
        image.symlink_to(secret)
        assert data.main(["check", "cub", f"data_root={tmp_path / 'data'}", f"out={tmp_path / 'x.csv'}"]) == 2
        assert "machine.follow_links=true" in capsys.readouterr().err


def test_every_reader_names_its_places():
    """The annotation of a reader marks the settings that name files or folders."""
    for path in sorted((CONF / "data").glob("*.yaml")):
        node = OmegaConf.load(path)
        if path.stem not in ("synthetic", "hugging_face"):
            assert _places(node["_target_"]), path
