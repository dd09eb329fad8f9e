import logging
from xml.sax.saxutils import escape

import numpy as np
import pytest

from trees import edit, write_image
from wsol.data.readers.voc import voc

CAT, DOG = ("cat", (5, 7, 20, 15), 0), ("dog", (5, 7, 20, 15), 0)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_CACHE", str(tmp_path / "cache"))


def write_xml(path, filename, objects, size=(40, 30)):
    parts = [f"<filename>{escape(filename)}</filename>"]
    parts += [f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"]
    for name, box, difficult in objects:
        corners = "".join(
            f"<{key}>{one}</{key}>" for key, one in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        parts.append(
            f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<annotation>\n" + "\n".join(parts) + "\n</annotation>\n", encoding="utf-8")


@pytest.fixture
def root(tmp_path):
    """VOC's folders with eight images of 40 x 30 pixels, cats and dogs by turns."""
    folder = tmp_path / "VOC2012"
    for place in range(8):
        write_image(folder / "JPEGImages" / f"2012_{place}.jpg", 40, 30, seed=place)
        write_xml(folder / "Annotations" / f"2012_{place}.xml", f"2012_{place}.jpg", [(CAT, DOG)[place % 2]])
    return folder


def write_lists(root, **lists):
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name, places in lists.items():
        text = "".join(f"2012_{place}\n" for place in places)
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(text)


def read(root, **settings):
    splits = voc(root, **settings, image_size=32, train_size=36)
    for split in (splits.train, splits.val, splits.test):
        split.preload()
    return splits


def sizes(splits):
    return [len(one) for one in (splits.train, splits.val, splits.test)]


def test_without_lists_the_split_is_seeded(root):
    splits = read(root)
    assert splits.name == "voc"
    assert splits.class_names == ("cat", "dog")
    assert sizes(splits) == [4, 2, 2]
    entry = splits.test.entries[0]
    assert entry.boxes.tolist() == [[4, 6, 20, 15]]  # the first pixel is 1, the last one inside
    assert entry.size == (30, 40)
    assert entry.origin.endswith(".xml, line 4")
    np.testing.assert_allclose(splits.test[0].boxes, [[4 * 0.8, 6 * 32 / 30, 20 * 0.8, 15 * 32 / 30]], rtol=1e-6)


def test_boxes_may_be_edges(root):
    assert read(root, box_format="edges").test.entries[0].boxes.tolist() == [[5, 7, 20, 15]]


def test_lists_are_the_splits(root, caplog):
    write_lists(root, train=[0, 1, 2, 3], val=[4, 5], test=[6])
    with caplog.at_level(logging.INFO):
        splits = read(root)
    assert sizes(splits) == [4, 2, 1]
    assert list(splits.test.image_ids) == ["2012_6.jpg"]
    assert "1 XML files are in no list and left out" in caplog.text


def test_without_a_list_val_it_is_held_out_of_train(root):
    write_lists(root, train=[0, 1, 2, 3, 4, 5], test=[6, 7])
    assert sizes(read(root)) == [4, 2, 2]


def test_lists_of_other_names_can_be_chosen(root):
    write_lists(root, train=[0, 1, 2, 3, 4, 5], val=[6, 7])
    with pytest.raises(
        FileNotFoundError, match=r"has train.txt, val.txt, but no test.txt; .*image_sets=\{train: train, te"
    ):
        read(root)
    splits = read(root, image_sets={"train": "train", "test": "val"})
    assert sizes(splits) == [4, 2, 2]
    with pytest.raises(FileNotFoundError, match=r"trainval.txt is missing"):
        read(root, image_sets={"train": "trainval", "test": "val"})


def test_a_listed_image_without_annotation_or_in_two_lists_is_named(root):
    write_lists(root, train=[0, 1, 2, 3, 9], test=[6, 7])
    with pytest.raises(ValueError, match=r"train.txt, line 5: '2012_9' has no XML file in .*Annotations"):
        read(root)
    edit(root / "ImageSets" / "Main" / "train.txt", 5, "2012_6")
    with pytest.raises(ValueError, match=r"test.txt, line 1: '2012_6' is in train.txt too"):
        read(root)


@pytest.fixture
def bare(tmp_path):
    """Images beside their XML files, in folders of splits."""
    for place in range(12):
        stem = f"{'train' if place < 8 else 'test'}/{place} \u00fc"
        write_image(tmp_path / "bare" / f"{stem}.png", 40, 30, seed=place)
        write_xml(tmp_path / "bare" / f"{stem}.xml", f"{place} \u00fc.png", [(CAT, DOG)[place % 2]])
    return tmp_path / "bare"


def test_images_beside_their_annotations_in_folders_of_splits(bare):
    splits = read(bare)
    assert sizes(splits) == [6, 2, 4]
    assert splits.test.image_ids[0] == "test/10 \u00fc.png"


def test_a_bare_folder_without_splits(bare):
    assert sizes(read(bare / "train")) == [4, 2, 2]


def test_folders_of_any_name(root):
    (root / "JPEGImages").rename(root / "photos")
    (root / "Annotations").rename(root / "xmls")
    assert sizes(read(root, images="photos", annotations="xmls")) == [4, 2, 2]


def test_a_second_run_reads_the_index(root, monkeypatch):
    import os

    for path in [*root.rglob("*.xml"), root / "Annotations"]:
        os.utime(path, (1e9, 1e9))  # what changed just now is not kept
    first = read(root)
    monkeypatch.setattr("wsol.data.formats.voc_folder.parse_voc", None)
    assert read(root).fingerprint == first.fingerprint
    assert read(root).test.entries[0].origin == first.test.entries[0].origin


def test_images_of_several_classes(root):
    write_xml(root / "Annotations" / "2012_0.xml", "2012_0.jpg", [CAT, ("dog", (1, 1, 40, 30), 0)])
    with pytest.raises(ValueError, match=r"Annotations: 1 of 8 images have boxes of several classes, first 2012_0.jpg"):
        read(root)
    assert sum(sizes(read(root, several="skip"))) == 7
    splits = read(root, several="largest")
    entries = [*splits.annotated_train, *splits.val.entries, *splits.test.entries]
    (entry,) = [one for one in entries if one.image_id == "2012_0.jpg"]
    assert (entry.class_id, entry.boxes.tolist()) == (1, [[0, 0, 40, 30]])


def test_difficult_objects_are_kept_or_skipped(root, caplog):
    write_xml(root / "Annotations" / "2012_0.xml", "2012_0.jpg", [CAT, ("dog", (1, 1, 40, 30), 1)])
    write_xml(root / "Annotations" / "2012_1.xml", "2012_1.jpg", [("dog", (1, 1, 40, 30), 1)])
    with pytest.raises(ValueError, match=r"several classes, first 2012_0.jpg"):
        read(root)
    with caplog.at_level(logging.INFO):
        assert sum(sizes(read(root, difficult="skip"))) == 7
    assert "of which 2 are marked difficult and left out" in caplog.text
    assert "1 images without annotation have no label and are left out" in caplog.text


def test_the_filename_decides_which_image_it_is(root):
    (root / "JPEGImages" / "2012_0.jpg").rename(root / "JPEGImages" / "renamed.jpg")
    write_xml(root / "Annotations" / "2012_0.xml", "renamed.jpg", [CAT])
    write_xml(root / "Annotations" / "2012_1.xml", "gone.jpg", [DOG])  # then the file of the same name is it
    write_xml(root / "Annotations" / "2012_2.xml", "2012_2", [CAT])  # as ImageNet writes it
    assert sum(sizes(read(root))) == 8
    write_xml(root / "Annotations" / "2012_3.xml", "2012_4.jpg", [DOG])
    with pytest.raises(
        ValueError, match=r"2012_3.xml: its <filename> is '2012_4.jpg', but 2012_3.jpg has its own name"
    ):
        read(root)


def test_two_images_of_one_name_are_named(root):
    write_image(root / "JPEGImages" / "2012_0.png", 40, 30)
    write_xml(root / "Annotations" / "2012_0.xml", "", [CAT])
    with pytest.raises(ValueError, match=r"2012_0.xml: 2012_0.jpg and 2012_0.png could be its image"):
        read(root)


@pytest.mark.parametrize("filename", ["../2012_0.jpg", "/etc/2012_0.jpg", "C:\\2012_0.jpg"])
def test_a_filename_out_of_the_folder_is_refused(root, filename):
    write_xml(root / "Annotations" / "2012_0.xml", filename, [CAT])
    with pytest.raises(ValueError, match=r"2012_0.xml: the path .* leaves the folder"):
        read(root)


def test_missing_images_are_counted(root):
    for place in (1, 3):
        (root / "JPEGImages" / f"2012_{place}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"Annotations: 2 of 8 images are not in .*JPEGImages: '2012_1.jpg'"):
        read(root)


@pytest.mark.parametrize(
    ("box", "settings", "message"),
    [
        ((0, 0, 1, 1), {}, r"all coordinates of all 8 boxes lie in \[0, 1\], but are read as pixels"),
        ((45, 7, 50, 15), {}, r"2012_\d.xml, line 4: the box \(44, 6, 50, 15\) .* nothing inside the image"),
        ((5, 7, 5, 15), {"box_format": "edges"}, r"2012_0.xml, line 4: the box .* is empty, as 8 of 8"),
        ((9, 7, 5, 15), {}, r"2012_0.xml, line 4.* expected xmin <= xmax"),
        ((5, 7, 20, 15), {"box_format": "xywh"}, "box_format must be one of voc, edges, got 'xywh'"),
        ((5, 7, 20, 15), {"difficult": "drop"}, "difficult must be one of keep, skip, got 'drop'"),
    ],
)
def test_what_is_wrong_with_the_boxes_is_said(root, box, settings, message):
    for place in range(8):
        write_xml(root / "Annotations" / f"2012_{place}.xml", f"2012_{place}.jpg", [("ab"[place % 2], box, 0)])
    with pytest.raises(ValueError, match=message):
        read(root, **settings)


def test_boxes_that_start_at_0_are_said(root, caplog):
    write_xml(root / "Annotations" / "2012_0.xml", "2012_0.jpg", [("cat", (0, 5, 9, 9), 0)])
    read(root)
    assert "1 of 8 boxes start before pixel 1, VOC's first" in caplog.text


def test_a_broken_file_is_named(root):
    (root / "Annotations" / "2012_5.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match=r"2012_5.xml, line 1: is not XML"):
        read(root)


def test_a_missing_folder_says_what_it_wants(tmp_path, root):
    with pytest.raises(FileNotFoundError, match=r"No folder of Pascal VOC at .*nowhere. Set data.root=FOLDER"):
        read(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="No XML file is in"):
        read(root / "JPEGImages")
