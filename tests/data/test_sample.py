import numpy as np
import pytest

from wsol.data.sample import Sample, collate, resize_sample


def make_sample(height=6, width=8, image_id="a") -> Sample:
    mask = np.zeros((height, width), bool)
    mask[2:4, 4:8] = True
    return Sample(
        image=np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3),
        class_id=3,
        image_id=image_id,
        boxes=np.array([[4, 2, 8, 4]], np.float32),
        mask=mask,
        part_boxes={"head": np.array([4, 2, 6, 3], np.float32)},
        part_points={"eye": np.array([5, 2], np.float32)},
    )


def test_resize_carries_everything_along():
    resized = resize_sample(make_sample(), (12, 24))
    assert resized.image.shape == (12, 24, 3)
    assert resized.boxes.tolist() == [[12, 4, 24, 8]]
    assert resized.part_boxes["head"].tolist() == [12, 4, 18, 6]
    assert resized.part_points["eye"].tolist() == [15, 4]
    ys, xs = np.nonzero(resized.mask)
    assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == [12, 4, 24, 8]


def test_labels_are_all_that_training_sees():
    bare = make_sample().without_boxes()
    assert len(bare.boxes) == 0
    assert bare.mask is None
    assert not bare.part_boxes
    assert not bare.part_points
    assert bare.class_id == 3


def test_collate_stacks_channels_first():
    batch = collate([make_sample(), make_sample(image_id="b")])
    assert batch.images.shape == (2, 3, 6, 8)
    np.testing.assert_array_equal(batch.images[1].permute(1, 2, 0).numpy(), make_sample().image)
    assert batch.image_ids == ["a", "b"]


def test_collate_refuses_two_sizes():
    with pytest.raises(ValueError, match="one size"):
        collate([make_sample(), make_sample(height=5)])
