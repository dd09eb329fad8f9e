import pytest
import torch

from wsol.data.views import Views


@pytest.fixture
def images():
    return torch.arange(2 * 3 * 6 * 8).reshape(2, 3, 6, 8)


def of(count, images, views, ids=("a", "b")):
    return Views(4, count).cut(images, ids, torch.tensor(views))


def test_the_first_view_is_the_centre(images):
    assert torch.equal(of(1, images, [0, 0]), images[:, :, 1:5, 2:6])


def test_an_image_of_the_views_size_is_its_own_centre(images):
    square = images[..., :6]
    assert torch.equal(Views(6).cut(square, ("a", "b"), torch.zeros(2, dtype=torch.int64)), square)


def test_further_views_are_crops_that_depend_on_image_and_number_alone(images):
    some = of(50, images[:1].expand(50, -1, -1, -1), list(range(50)), ids=["a"] * 50)
    crops = [images[0, :, top : top + 4, left : left + 4] for top in range(3) for left in range(5)]
    known = torch.stack(crops + [crop.flip(-1) for crop in crops])
    places = [int((known == crop).flatten(1).all(dim=1).nonzero()[0, 0]) for crop in some]
    assert len(set(places)) > 15
    assert 10 < sum(place >= 15 for place in places[1:]) < 40  # mirrored
    assert torch.equal(of(3, images, [2, 2])[0], some[2])  # in another batch, of fewer views
    others = Views(4, 50).cut(images[:1].expand(50, -1, -1, -1), ["b"] * 50, torch.arange(50))
    assert not torch.equal(others, some)


def test_views_are_drawn_from_the_generator():
    drawn = Views(4, 3).draw(1000, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, Views(4, 3).draw(1000, torch.Generator().manual_seed(0)))
    assert drawn.bincount().tolist() == pytest.approx([333] * 3, abs=60)
    assert not Views(4).draw(9, torch.Generator()).any()


def test_what_makes_no_sense_is_refused(images):
    with pytest.raises(ValueError, match="at least 1, got 4 and 0"):
        Views(4, 0)
    with pytest.raises(ValueError, match="Cannot crop 7 x 7 out of images of 6 x 8 pixels"):
        Views(7).cut(images, ("a", "b"), torch.zeros(2, dtype=torch.int64))
