import numpy as np
import pandas as pd
import pytest

from wsol.data.ground_truth import GroundTruth, same_size
from wsol.geometry import as_boxes
from wsol.scoring.external.class_ranks import read_class_ranks

TRUTH = GroundTruth(
    np.array(["a", "b", "c"]),
    np.array([0, 1, 1]),
    [as_boxes([])] * 3,
    same_size(3, (2, 2)),
    class_names=("cat", "dog"),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.csv"


@pytest.mark.parametrize("heading", ["", "image,first,second\n"])
def test_the_place_of_the_true_class(path, heading):
    path.write_text(f"{heading}b,dog,cat\na,1,0\nc,0,5\n\n")
    ranks, listed = read_class_ranks(path, TRUTH)
    assert ranks[:2].tolist() == [1, 0]
    assert ranks[2] >= 5
    assert listed == 2


def test_the_shortest_line_limits_k(path):
    path.write_text("a,0,1,2,3,4\nb,1\nc,1,0,\n")
    assert read_class_ranks(path, TRUTH)[1] == 1


def test_predictions_of_a_run(tmp_path):
    pd.DataFrame({"image_id": ["c", "a", "b"], "class_rank": [7, 0, 2]}).to_parquet(tmp_path / "p.parquet")
    ranks, listed = read_class_ranks(tmp_path / "p.parquet", TRUTH)
    assert ranks.tolist() == [0, 2, 7]
    assert listed > 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,0\nb,0\n", "missing: c"),
        ("a,0\nb,0\nc,0\nd,0\n", "extra, of no image of the split: d"),
        ("a,0\na,0\n", "line 2: image 'a' comes a second time"),
        ("a,0\nb,,\n", "line 2: no class is given"),
        ("a,cow\n", "line 1: class 'cow' is neither"),
    ],
)
def test_what_is_wrong_is_named(path, text, message):
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_class_ranks(path, TRUTH)


def test_annotations_without_classes_cannot_be_predicted(path):
    path.write_text("a,0\n")
    unknown = GroundTruth(TRUTH.image_ids, np.full(3, -1), TRUTH.boxes, TRUTH.sizes)
    with pytest.raises(ValueError, match="name no classes"):
        read_class_ranks(path, unknown)
    with pytest.raises(FileNotFoundError, match="No predictions"):
        read_class_ranks(path.with_name("none"), TRUTH)
