import pytest
import torch

from wsol.training.augment import augment

RAMP = torch.arange(6 * 6).reshape(1, 1, 6, 6).expand(64, 3, 6, 6)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_every_result_is_a_window_or_its_mirror_image():
    windows = {tuple(RAMP[0, 0, y : y + 4, x : x + 4].flatten().tolist()) for y in range(3) for x in range(3)}
    mirrored = {tuple(torch.tensor(w).reshape(4, 4).flip(-1).flatten().tolist()) for w in windows}
    found = {tuple(one[0].flatten().tolist()) for one in augment(RAMP, 4, seeded())}
    assert found <= windows | mirrored
    assert found & windows
    assert found & mirrored
    assert len(found) > 9  # of 18


def test_the_generator_decides():
    first, again, other = (augment(RAMP, 4, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="Cannot crop 7 x 7"):
        augment(RAMP, 7, seeded())
