import numpy as np
import torch

from wsol.maps.stored_maps import Degenerate, StoredMaps


def test_kinds_are_counted():
    found = Degenerate()
    for values in ([[0, 0], [0, 0]], [[2, 2], [2, 2]], [[0, 3], [0, 0]], [[-1, -1], [-1, 0]], [[0, 1], [2, 0]]):
        found.add(np.array(values, float))
    assert found == Degenerate(constant=2, zero=1, one_pixel=2)
    assert str(found) == "1 zero, 1 constant, 2 one pixel"
    assert str(Degenerate()) == ""


def test_stored_maps_count_theirs():
    maps = torch.rand(4, 3, 3)
    maps[1], maps[2] = 0, 1e-12
    assert StoredMaps.of(list("abcd"), maps).degenerate() == Degenerate(constant=2, zero=1)
