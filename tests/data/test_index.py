from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from wsol.data.image_set import ImageSet
from wsol.data.index import Entry, Index
from wsol.data.sample import Sample
from wsol.data.shared_strings import Strings


def entry(name, class_id, boxes=(), **kwargs):
    return Entry(name, class_id, np.array(boxes, np.float32).reshape(-1, 4), Path("photos", name), **kwargs)


ENTRIES = [
    entry("a", 2, [[0, 1, 2, 3]], origin="boxes.txt, line 1", size=(30, 40)),
    entry("b", 0),
    entry(
        "c", 1, [[4, 5, 6, 7], [8, 9, 10, 11]], mask_paths=(Path("m.png"),), mask_above=0.5, part_points={"eye": (1, 2)}
    ),
    entry("d", 0, [[1, 1, 2, 2]], ignore_path=Path("i.png")),
]


def plain(one):
    return {**vars(one), "boxes": one.boxes.tolist()}


def same(first, second):
    return [plain(one) for one in first] == [plain(one) for one in second]


class TestIndex:
    def test_gives_back_the_entries_that_it_was_made_of(self):
        index = Index.of(ENTRIES)
        assert same(index, ENTRIES)
        assert same([index[-1]], ENTRIES[-1:])
        assert same(index[1:3], ENTRIES[1:3])
        assert Index.of(index) is index
        with pytest.raises(IndexError):
            index[4]

    @pytest.mark.parametrize("places", [[2, 0], [3], [0, 1, 2, 3], [1, 1], []])
    def test_selects_with_all_columns(self, places):
        assert same(Index.of(ENTRIES).select(np.array(places)), [ENTRIES[place] for place in places])

    def test_of_no_entries_is_empty(self):
        assert len(Index.of([])) == 0
        assert Index.of([]).boxes.shape == (0, 4)

    def test_without_boxes_keeps_labels_alone(self):
        index = Index.of(ENTRIES).without_boxes()
        assert list(index.image_ids) == ["a", "b", "c", "d"]
        assert index.class_ids.tolist() == [2, 0, 1, 0]
        assert all(not len(one.boxes) and not one.mask_paths and not one.part_points for one in index)
        assert index[0].size == (30, 40)

    def test_counts_boxes(self):
        assert Index.of(ENTRIES).box_counts.tolist() == [1, 0, 2, 1]

    def test_classes_are_renamed_and_left_out(self):
        index = Index.of(ENTRIES).with_classes(np.array([1, -1, 0]))
        assert list(index.image_ids) == ["a", "b", "d"]
        assert index.class_ids.tolist() == [0, 1, 1]
        assert index[2].boxes.tolist() == [[1, 1, 2, 2]]

    def test_files_are_their_own_ids(self):
        files = Strings.of(["x/1.jpg", "y/2.jpg"])
        index = Index.of_files(Path("photos"), files, np.array([0, 1]))
        assert [one.image_id for one in index] == ["x/1.jpg", "y/2.jpg"]
        assert [one.path for one in index] == [Path("photos/x/1.jpg"), Path("photos/y/2.jpg")]
        assert index.paths is files  # kept once


def load(one):
    return Sample(np.zeros((2, 2, 3), np.uint8), one.class_id, one.image_id)


def where_the_ids_lie(images):
    """The address of the first byte of the ids, in the loader's process, and whether it is shared memory."""
    data = images.entries.image_ids.data
    return [data.data_ptr(), int(data.is_shared())]


class Asking(ImageSet):
    def __getitem__(self, index):
        return torch.tensor(where_the_ids_lie(self))


def test_a_forked_loader_reads_the_pages_of_its_parent():
    images = Asking(ENTRIES, load)
    (found,) = DataLoader(images, batch_size=4, num_workers=1, multiprocessing_context="fork")
    assert found[0, 0] == where_the_ids_lie(images)[0]


def test_a_spawned_loader_is_handed_shared_memory():
    (found,) = DataLoader(Asking(ENTRIES, load), batch_size=4, num_workers=1, multiprocessing_context="spawn")
    assert found[:, 1].tolist() == [1, 1, 1, 1]
