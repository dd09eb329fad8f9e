import numpy as np
import pytest
import torch

from wsol.comparison.normalizations import by_normalization
from wsol.data.ground_truth import GroundTruth
from wsol.maps.stored_maps import StoredMaps
from wsol.scoring.protocol import REFERENCE, TIGHT

SIZE = (40, 40)


def one_map(background):
    """A map of 1 on the object and a background elsewhere; the object is the middle quarter of the image."""
    activation = np.full((1, *SIZE), background, np.float32)
    activation[:, 10:30, 10:30] = 1
    activation[0, 0, 0] = -4  # the lowest value, which moves the zero of min-max
    truth = GroundTruth(
        image_ids=np.array(["a"]),
        class_ids=np.zeros(1, np.int64),
        boxes=[np.array([[10, 10, 30, 30]], np.float32)],
        sizes=np.array([SIZE]),
    )
    return StoredMaps.of(["a"], torch.from_numpy(activation)), truth


@pytest.mark.parametrize("protocol", [TIGHT, REFERENCE], ids=lambda protocol: protocol.name)
def test_20_percent_of_the_range_and_of_the_maximum_on_paper(protocol):
    # τ of min-max is -4 + 0.2 * 5 = -3, below the background of 0.1; of the maximum it is 0.2, above it.
    maps, truth = one_map(background=0.1)
    found = by_normalization(maps, truth, protocol)
    assert found["min_max"] == (0, 1)  # the box is the frame
    assert found["max"] == (1, 0)  # the box is the object


def test_other_images_are_refused():
    maps, truth = one_map(0.0)
    with pytest.raises(ValueError, match="other images"):
        by_normalization(StoredMaps.of(["b"], torch.from_numpy(maps.read(0)[None])), truth, TIGHT)
