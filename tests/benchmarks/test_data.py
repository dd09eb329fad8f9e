"""`benchmarks/data.py`: what it prints and writes, and how it ends."""

import csv
import hashlib
import logging
from pathlib import Path

import pytest

import data
from archives import FILES, contents, tar_bytes
from commands import run_command
from http_server import FileServer
from imagenet_trees import make_kaggle
from trees import REAL, edit, make_cub, make_tiny_imagenet, write_image
from wsol.data.download.catalog import CATALOG, RemoteFile, Source

ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """The command, in this process and in a folder of its own: words -> exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WSOL_DATA_ROOT", raising=False)
    level = logging.getLogger("wsol").level

    def command(*words):
        try:
            status = data.main([str(word) for word in words])
        except SystemExit as ended:  # of argparse
            status = ended.code
        said = capsys.readouterr()
        return status, said.out, said.err

    yield command
    logging.getLogger("wsol").setLevel(level)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_list_names_every_data_set_and_every_reader(call, tmp_path):
    make_tiny_imagenet(tmp_path / "data")
    (tmp_path / "data" / "OpenImages").mkdir()
    status, out, err = call("list")
    assert (status, err) == (0, "")
    catalog, readers = out.split("Readers, to use with")
    lines = {line.split()[0]: line for line in catalog.splitlines() if line.strip()}
    assert set(CATALOG) <= set(lines)
    assert lines["tiny_imagenet"].endswith("yes")
    assert "248 MB" in lines["tiny_imagenet"]
    assert lines["cub"].endswith("no")
    assert "by hand: " in lines["imagenet"]
    assert lines["openimages30k"].endswith("yes,")  # its folder in the next line
    named = {line.split()[0] for line in readers.splitlines() if line and not line.startswith(" ")}
    assert {path.stem for path in (ROOT / "conf" / "data").glob("*.yaml")} <= named
    assert "${" not in out


def test_a_data_set_of_which_a_part_is_there(call, tmp_path):
    make_cub(tmp_path / "birds")
    _, out, _ = call("list", f"data_root={tmp_path / 'birds'}")
    assert "Looked for in " + str(tmp_path / "birds") in out
    line = next(line for line in out.splitlines() if line.startswith("cub "))
    assert line.endswith("in part:")


def test_a_good_data_set_is_ready(call, tmp_path):
    make_cub(tmp_path / "data")
    status, out, _ = call("check", "cub")
    assert status == 0
    assert out.startswith("# cub: ready\n")
    assert "CUB-200-2011: 2 of 200 classes; counts are those of a subset." in out
    assert "12 images in " in out
    written = tmp_path / "results" / "data"
    assert sorted(path.name for path in written.iterdir()) == ["cub-check.csv", "cub-check.md"]
    assert rows_of(written / "cub-check.csv") == [["split", "image_id", "kind", "message"]]
    text = (written / "cub-check.md").read_text(encoding="utf-8")
    assert out.startswith(text.partition("\ncommand: ")[0])
    assert "\ncommand: python " in text


def test_a_bad_one_is_reported_in_full(call, tmp_path):
    folder = make_cub(tmp_path / "birds")
    for number in (1, 2, 4, 5, 7):  # of both species, five with a box from x = 40 of 40
        edit(folder / "bounding_boxes.txt", number, f"{number} 40.0 5.0 20.0 20.0")
    status, out, _ = call("check", "cub", f"data_root={tmp_path / 'birds'}", f"out={tmp_path / 'o' / 'bad.csv'}")
    assert status == 1
    assert out.startswith("# cub: 5 problems\n")
    assert "- box outside of its image: 5\n" in out
    assert "  - and 2 more\n" in out
    header, *rows = rows_of(tmp_path / "o" / "bad.csv")
    assert header == ["split", "image_id", "kind", "message"]
    assert sorted(row[1][-8:] for row in rows) == [f"000{number}.jpg" for number in (1, 2, 4, 5, 7)]
    assert {row[2] for row in rows} == {"box outside of its image"}
    by_image = {row[1]: row[3] for row in rows}
    assert "bounding_boxes.txt, line 7: the box (40, 5, 60, 25)" in by_image["002.Auklet/bird_0007.jpg"]
    assert (tmp_path / "o" / "bad.md").is_file()


def test_boxes_that_reach_out_of_their_image_are_noted(call, tmp_path):
    folder = make_cub(tmp_path / "data")
    for number in (1, 3):
        edit(folder / "bounding_boxes.txt", number, f"{number} 30.0 5.0 20.0 20.0")
    status, out, _ = call("check", "cub")
    assert status == 0
    assert out.startswith("# cub: ready, 2 notes\n")
    assert "\nNotes:\n- box that reaches out of its image: 2\n" in out
    rows = rows_of(tmp_path / "results" / "data" / "cub-check.csv")[1:]
    assert {row[2] for row in rows} == {"box that reaches out of its image"}


@pytest.mark.data
@pytest.mark.skipif(not (REAL / "CUB_200_2011").is_dir(), reason="no CUB-200-2011 under WSOL_DATA_ROOT")
def test_the_real_cub_has_five_boxes_that_reach_out(call, tmp_path):
    status, out, _ = call("check", "cub", f"data_root={REAL}")
    assert status == 0
    assert "- box that reaches out of its image: 5\n" in out
    rows = [row for row in rows_of(tmp_path / "results" / "data" / "cub-check.csv")[1:] if "reaches out" in row[2]]
    assert {row[1].split("/")[1]: row[3].partition(" reaches ")[2].partition(" out")[0] for row in rows} == {
        "Black_Footed_Albatross_0050_796125.jpg": "1 pixel",
        "Indigo_Bunting_0058_12207.jpg": "1 pixel",
        "Gray_Catbird_0032_21551.jpg": "5 pixels",
        "Spotted_Catbird_0041_796807.jpg": "2 pixels",
        "Spotted_Catbird_0002_796827.jpg": "1 pixel",
    }


def test_all_missing_images_are_listed(call, tmp_path):
    folder = make_cub(tmp_path / "data")
    gone = sorted((folder / "images").glob("*/*.jpg"))[3:9]
    for path in gone:
        path.unlink()
    status, out, _ = call("check", "cub")
    assert status == 1
    assert out.startswith("# cub: 6 problems\n")
    assert "images.txt: 6 of 12 images are missing: " in out
    assert " and 3 more; unpack the archive again." in out
    rows = rows_of(tmp_path / "results" / "data" / "cub-check.csv")[1:]
    assert sorted(row[1] for row in rows) == [str(Path("data") / path.relative_to(tmp_path / "data")) for path in gone]
    assert {row[2] for row in rows} == {"missing file"}


def test_an_older_summary_does_not_stay_beside_a_list_of_missing_images(call, tmp_path):
    folder = make_cub(tmp_path / "data")
    assert call("check", "cub")[0] == 0
    next((folder / "images").glob("*/*.jpg")).unlink()
    assert call("check", "cub")[0] == 1
    assert (tmp_path / "results" / "data" / "cub-check.md").read_text().startswith("# cub: 1 problem\n")


def test_all_images_whose_heads_cannot_be_read_are_listed(call, tmp_path):
    names = [f"{label}/{index}.png" for label in ("cat", "dog") for index in range(4)]
    for seed, name in enumerate(names):
        write_image(tmp_path / "photos" / name, seed=seed)
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\n" + "".join(f"{name},1,1,9,9\n" for name in names))
    (tmp_path / "photos" / names[1]).write_text("no image")
    (tmp_path / "photos" / names[6]).write_bytes(b"")
    status, out, _ = call("check", "folder", "data.images=photos", "data.boxes=boxes.csv")
    assert status == 1
    assert out.startswith("# folder: 2 problems\n")
    assert "So it is with 2 of 8 images." in out
    rows = rows_of(tmp_path / "results" / "data" / "folder-check.csv")[1:]
    assert [Path(row[1]).name for row in rows] == ["1.png", "2.png"]
    assert {row[2] for row in rows} == {"image that cannot be decoded"}


def test_images_that_a_part_of_imagenet_lacks_are_a_problem(call, tmp_path):
    make_kaggle(tmp_path / "data")
    status, out, _ = call("check", "imagenet", "data.val=train", "data.val_fraction=0.3")
    assert status == 1
    assert "images of the official val (test), of 100 published for 2 of 1,000 classes" in out


def test_settings_go_to_the_reader(call, tmp_path):
    make_cub(tmp_path / "data")
    status, out, _ = call("check", "cub", "data.classes=1", "data.val_fraction=0.5", "duplicates=no")
    assert status == 0
    assert "CUB-200-2011: 1 of 200 classes" in out
    assert "| images                                |          2 |          2 |          2 |" in out


def test_the_same_photograph_in_two_splits_is_a_warning(call, tmp_path):
    folder = make_cub(tmp_path / "data") / "images" / "001.Albatross"
    (folder / "bird_0003.jpg").write_bytes((folder / "bird_0001.jpg").read_bytes())  # test, train
    status, out, _ = call("check", "cub")
    assert status == 0
    assert out.startswith("# cub: ready, 1 warning\n")
    assert "- same file in two splits: 1\n" in out
    (_, row) = rows_of(tmp_path / "results" / "data" / "cub-check.csv")
    assert row[:3] == ["test", "001.Albatross/bird_0003.jpg", "same file in two splits"]
    status, out, _ = call("check", "cub", "duplicates=no")
    assert out.startswith("# cub: ready\n")


def test_ones_own_images(call, tmp_path):
    lines = ["image,label,x0,y0,x1,y1"]
    for number in range(12):
        name = f"{'ab'[number % 2]}/{number}.jpg"
        write_image(tmp_path / "photos" / name, seed=number)
        lines.append(f"{name},{'ab'[number % 2]},10,5,30,25")
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    words = ("check", "folder", "data.images=photos", "data.boxes=boxes.csv", "data.name=mine")
    status, out, _ = call(*words)
    assert status == 0
    assert out.startswith("# mine: ready\n")
    assert "published" not in out
    assert (tmp_path / "results" / "data" / "folder-check.csv").is_file()
    bad = tmp_path / "photos" / "a" / "0.jpg"
    bad.write_bytes(bad.read_bytes()[:-600])
    status, out, _ = call(*words)
    assert status == 1
    assert "- image that cannot be decoded: 1\n" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cub"], "error: No CUB-200-2011 at data. "),
        (["birds"], "error: there is no reader 'birds'; choose from coco, cub, folder, "),
        (["metadata"], "error: data=metadata needs data.name; set data.name=..."),
        (["cub", "data.colour=red"], "error: Could not override 'data.colour'"),
    ],
)
def test_what_a_reader_refuses_is_said_in_one_line(call, tmp_path, words, said):
    status, out, err = call("check", *words)
    assert (status, out) == (2, "")
    assert err.startswith(said)
    assert err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_malformed_list_is_said_with_its_line(call, tmp_path):
    folder = make_cub(tmp_path / "data")
    edit(folder / "bounding_boxes.txt", 5, "5 10.0 5.0")
    status, _, err = call("check", "cub")
    assert status == 2
    assert err.startswith("error: data/CUB_200_2011/bounding_boxes.txt, line 5: expected 5 fields")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required"),
        (["look"], "invalid choice: 'look'"),
        (["check"], "the following arguments are required: NAME"),
        (["fetch"], "the following arguments are required: NAME"),
        (["check", "folder", "images=photos"], "images=photos: expected data_root=VALUE"),
        (["check", "cub", "data_root="], "data_root=: expected"),
        (["check", "cub", "backbone=resnet50"], "backbone=resnet50: expected"),
        (["check", "cub", "duplicates=maybe"], "duplicates=maybe must be yes or no."),
        (["check", "cub", "out=report.md"], "out=report.md: name a file that ends in .csv."),
        (["list", "cub"], "cub: expected data_root=VALUE."),
        (["list", "data.root=x"], "data.root=x: expected data_root=VALUE."),
        (["fetch", "cub", "out=x.csv"], "out=x.csv: expected data_root=VALUE."),
    ],
)
def test_wrong_usage(call, words, said):
    status, out, err = call(*words)
    assert (status, out) == (2, "")
    assert err.startswith("usage: data.py ")
    assert said in err


def test_help(call):
    status, out, _ = call("--help")
    assert status == 0
    assert "python benchmarks/data.py check NAME" in out


def test_an_unknown_data_set_is_not_fetched(call):
    status, _, err = call("fetch", "birds")
    assert status == 2
    assert err.startswith("error: There is no data set 'birds'; choose from cub, ")


def test_one_that_cannot_be_fetched_says_how_to_get_it(call, tmp_path):
    status, _, err = call("fetch", "imagenet", f"data_root={tmp_path / 'here'}")
    assert status == 2
    assert err.startswith("error: ImageNet (ILSVRC2012, CLS-LOC) cannot be fetched: it takes an account")
    assert f"unpack its archive in {tmp_path / 'here'}" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "here").exists()


def test_one_that_can_is_fetched(call, tmp_path, monkeypatch):
    archive = tar_bytes(FILES)
    digest = hashlib.sha256(archive).hexdigest()
    monkeypatch.setenv("no_proxy", "*")
    with FileServer(archive) as server:
        remote = RemoteFile(f"{server.url}/birds.tar", "birds", digest, size=len(archive), max_bytes=2**20)
        monkeypatch.setitem(CATALOG, "birds", Source("birds", "Birds", "Some birds.", "none", (remote,)))
        status, out, _ = call("fetch", "birds")
    assert status == 0
    assert f"birds.tar: downloaded, {len(archive):,} bytes; sha256 is right.\n" in out
    assert contents(tmp_path / "data" / "birds") == {name.removeprefix("birds/"): body for name, body in FILES.items()}
    _, out, _ = call("list")
    assert next(line for line in out.splitlines() if line.startswith("birds ")).endswith("yes")


@pytest.mark.slow
def test_the_command_line_ends_with_the_status():
    done = run_command("data.py", "check", "birds", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no reader 'birds'")
