import base64
import io
import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from seed_records import record_of
from wsol.maps.stored_maps import StoredMaps
from wsol.report.content import Page, Section
from wsol.report.html import write_page
from wsol.report.image_gallery import Setting, build_gallery, orders_of
from wsol.scoring.protocol import REFERENCE, TIGHT, ZHOU2016
from wsol.scoring.score_map import to_score_maps

SIZE = (20, 40)  # height and width
TRUE_BOX = (0, 0, 10, 10)
# IoU in tenths of six images: both hit, one hits, none does, one hits, both hit, none does.
FIRST, SECOND = (10, 8, 0, 6, 9, 3), (10, 1, 0, 4, 7, 2)
MOST_TORN, BEST, WORST = [1, 3, 4, 5, 0, 2], [0, 4, 3, 1, 5, 2], [2, 5, 1, 3, 4, 0]


def record(widths, rank=0):
    """Boxes as high as the true one, whose IoU is their width in tenths."""
    return record_of([(0, 0, width, 10) for width in widths], [TRUE_BOX] * len(widths), rank=rank)


def setting(widths, maps=None, **options):
    made = record(widths, **options)
    stored = None if maps is None else StoredMaps.of(made.image_ids.tolist(), torch.as_tensor(maps))
    return Setting(made, stored, TIGHT)


def predictions(count, boxes=None, class_ids=None, size=SIZE):
    frame = pd.DataFrame(
        {
            "image_id": [f"{n:05d}" for n in range(count)],
            "class_id": [0] * count if class_ids is None else class_ids,
            "boxes": [list(TRUE_BOX) for _ in range(count)] if boxes is None else boxes,
        }
    )
    frame.attrs = {"size": list(size)}
    return frame


def two_settings():
    return {"gap cam": setting(FIRST), "gmp cam": setting(SECOND)}


def gallery(settings, count=6, class_names=("bird",), photos=None, limit=200, **options):
    return build_gallery(settings, predictions(count, **options), class_names, photos, limit)


def picture(uri, kind):
    head, _, content = uri.partition(",")
    assert head == f"data:image/{kind.lower()};base64"
    result = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    assert result.format == kind
    return result


def test_orders_on_paper_disagreement_is_that_of_the_first_two_settings():
    iou = np.array(
        [
            [0.6, 0.6, 0.0],  # both hit; the third, which does not, has no say in the disagreement
            [0.7, 0.2, 0.9],
            [0.1, 0.4, 0.1],  # neither hits, however far apart
            [0.5, 0.4, 0.0],  # 0.5 is a hit
            [0.2, 0.7, 0.9],  # as far apart as the second one, and of the same mean
        ]
    )
    orders = orders_of(iou)
    assert list(orders) == ["most disagreement", "best", "worst", "random"]
    assert orders["most disagreement"].tolist() == [1, 4, 3, 2, 0]
    assert orders["best"].tolist() == [1, 4, 0, 3, 2]
    assert orders["worst"].tolist() == [2, 3, 0, 1, 4]
    assert sorted(orders["random"].tolist()) == [0, 1, 2, 3, 4]


def test_of_equals_the_one_stored_first_comes_first():
    orders = orders_of(np.full((6, 2), 0.3))
    for name in ("most disagreement", "best", "worst"):
        assert orders[name].tolist() == [0, 1, 2, 3, 4, 5]


def test_the_random_order_is_the_same_whatever_was_predicted():
    first, second = (orders_of(np.full((9, 2), value))["random"] for value in (0.1, 0.9))
    np.testing.assert_array_equal(first, second)
    assert first.tolist() != sorted(first.tolist())


def test_one_setting_has_no_disagreement():
    assert list(orders_of(np.array([[0.2], [0.4]]))) == ["best", "worst", "random"]
    shown = gallery({"gap cam": setting(FIRST)})
    assert list(shown.orders) == ["best", "worst", "random"]
    assert shown.orders["best"] == _into(shown, [0, 4, 1, 3, 5, 2])
    assert "isagreement" not in shown.caption


def test_all_images_in_all_orders():
    shown = gallery(two_settings())
    assert shown.settings == ["gap cam", "gmp cam"]
    assert sorted(image.image_id for image in shown.images) == [f"{n:05d}" for n in range(6)]
    assert next(iter(shown.orders)) == "most disagreement"
    for name, expected in (("most disagreement", MOST_TORN), ("best", BEST), ("worst", WORST)):
        assert _ids(shown, name) == expected
    assert shown.caption.startswith("All 6 test images are shown. ")


def test_a_limit_takes_the_first_of_each_order_in_turn():
    shown = gallery(two_settings(), limit=3)
    assert [int(image.image_id) for image in shown.images] == [1, 0, 2]
    assert shown.orders["most disagreement"] == [0, 1, 2]  # of the images 1, 0, 2, embedded in this order
    assert shown.orders["best"] == [1, 0, 2]
    assert shown.orders["worst"] == [2, 0, 1]
    assert sorted(shown.orders["random"]) == [0, 1, 2]
    assert shown.caption.startswith("3 of 6 test images are shown: the first of each order")


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 6, 7, 10**9])
def test_orders_are_places_among_the_embedded_images(limit):
    shown = gallery(two_settings(), limit=limit)
    count = min(limit, 6)
    assert len(shown.images) == count
    for order in shown.orders.values():
        assert sorted(order) == list(range(count))
        assert {type(place) for place in order} == {int}
    kept = {int(image.image_id) for image in shown.images}
    assert _ids(shown, "worst") == [index for index in WORST if index in kept]


def test_boxes_are_fractions_of_width_and_height():
    shown = gallery({"gap cam": setting((5, 2))}, count=2, boxes=[[10, 5, 30, 15], [0, 0, 4, 4, 20, 10, 40, 20]])
    first, second = sorted(shown.images, key=lambda image: image.image_id)
    assert list(first.true_boxes) == [(0.25, 0.25, 0.75, 0.75)]
    assert list(second.true_boxes) == [(0, 0, 0.1, 0.2), (0.5, 0.5, 1, 1)]
    assert first.views[0].box == (0, 0, 0.125, 0.5)
    assert first.aspect == 2


def test_an_object_is_as_large_as_its_largest_true_box():
    boxes = [[0, 0, 10, 10], [0, 0, 4, 4, 10, 0, 30, 20], [0, 0, 40, 11]]  # 1/8, 1/2 and 11/20 of the image
    shown = gallery({"gap cam": setting((5, 2, 1))}, count=3, boxes=boxes)
    assert [image.size for image in sorted(shown.images, key=lambda image: image.image_id)] == [
        "small",
        "medium",
        "large",
    ]


def test_views_say_what_was_predicted():
    shown = gallery({"gap cam": setting((10, 8, 0, 3), rank=[0, 2, 0, -1])}, count=4)
    views = [image.views[0] for image in sorted(shown.images, key=lambda image: image.image_id)]
    assert [view.error for view in views] == ["right", "wrong class", "no box", "too small"]
    assert [view.top1 for view in views] == [True, False, True, None]  # None: nothing was classified
    assert [view.iou for view in views] == pytest.approx([1, 0.8, 0, 0.3])
    assert views[2].box is None
    assert views[3].box == (0, 0, 0.075, 0.5)


def test_maps_are_small_pictures_the_right_way_up():
    maps = np.zeros((2, 2, 4), dtype=np.float32)
    maps[0, 0, 3] = 7  # at the top right
    maps[1, 1, 0] = 0.001  # at the bottom left
    shown = gallery({"gap cam": setting((5, 2), maps)}, count=2, size=(100, 200))
    drawn = [np.asarray(picture(image.views[0].score_map, "PNG")) for image in _in_order(shown)]
    assert [image.shape for image in drawn] == [(24, 48)] * 2
    for image, corner in zip(drawn, ((0, -1), (-1, 0)), strict=True):
        assert (image.min(), image.max()) == (0, 255)
        assert image[corner] > 240  # bicubic puts the very peak beside the corner
        assert image[tuple(-1 - place for place in corner)] < 64


def test_a_map_with_a_number_for_each_pixel_keeps_its_peak():
    maps = np.zeros((1, 480, 480), dtype=np.float32)
    maps[0, 101, 209] = 1
    shown = gallery({"gap cam": setting((5,), maps)}, count=1, size=(480, 480))
    drawn = np.asarray(picture(shown.images[0].views[0].score_map, "PNG"))
    assert drawn.shape == (48, 48)
    assert np.argwhere(drawn == 255).tolist() == [[10, 20]]


def test_small_images_are_not_enlarged_and_a_constant_map_is_black():
    shown = gallery({"gap cam": setting((5,), np.ones((1, 2, 2), np.float32))}, count=1)
    drawn = np.asarray(picture(shown.images[0].views[0].score_map, "PNG"))
    assert drawn.shape == SIZE
    assert drawn.max() == 0


@pytest.mark.parametrize("protocol", [TIGHT, REFERENCE, ZHOU2016], ids=lambda protocol: protocol.name)
def test_the_protocol_says_how_maps_are_made_but_for_its_grid(protocol):
    maps = np.array([[[-2, -1, 0, 1], [2, 3, 4, 7]]], dtype=np.float32)
    image = replace(setting((5,), maps), protocol=protocol)
    drawn = np.asarray(picture(gallery({"gap cam": image}, count=1).images[0].views[0].score_map, "PNG"))
    (expected,) = to_score_maps(image.maps.activation_maps(), SIZE, replace(protocol, name="other", grid=None))
    np.testing.assert_array_equal(drawn, np.round(255 * expected))


@pytest.mark.parametrize("shape", [(224, 224), (99, 131)])
def test_a_constant_map_of_pixels_is_black_though_averaging_rounds(shape):
    shown = gallery({"gap cam": setting((5,), np.full((1, *shape), 0.3, np.float32))}, count=1, size=(224, 224))
    assert picture(shown.images[0].views[0].score_map, "PNG").getextrema() == (0, 0)


def test_a_setting_without_maps_stands_beside_one_with_maps():
    maps = np.random.default_rng(0).random((6, 2, 4), dtype=np.float32)
    shown = gallery({"gap cam": setting(FIRST, maps), "gmp cam": setting(SECOND)})
    for image in shown.images:
        assert picture(image.views[0].score_map, "PNG").size == (40, 20)
        assert image.views[1].score_map == ""


def test_a_map_that_holds_nan_is_named():
    maps = np.ones((2, 2, 2), dtype=np.float32)
    maps[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"'00001'.* holds NaN or infinity"):
        gallery({"gap cam": setting((5, 2), maps)}, count=2)


def test_photos_are_made_small():
    asked = []

    def read(index):
        asked.append(index)
        return Image.new("RGBA" if index else "L", (400, 200), 10)

    shown = gallery(two_settings(), photos=read, limit=3)
    assert asked == [1, 0, 2]  # those that are shown, and no others
    for image in shown.images:
        result = picture(image.photo, "JPEG")
        assert result.size == (160, 80)
        assert result.mode == "RGB"
    small = gallery(two_settings(), photos=lambda index: Image.new("RGB", (40, 20)))
    assert picture(small.images[0].photo, "JPEG").size == (40, 20)


def test_without_photos_there_are_none():
    assert {image.photo for image in gallery(two_settings()).images} == {""}


@pytest.mark.parametrize("error", [OSError, ValueError, SyntaxError, Image.DecompressionBombError])
def test_a_photo_that_cannot_be_read_is_left_out_and_said_once(caplog, error):
    def read(index):
        if index in (2, 5):
            raise error("broken data stream")
        return Image.new("RGB", SIZE[::-1])

    with caplog.at_level(logging.WARNING):
        shown = gallery(two_settings(), photos=read)
    assert [bool(image.photo) for image in _in_order(shown)] == [True, True, False, True, True, False]
    (message,) = caplog.messages
    assert message.startswith("2 of 6 photographs of the gallery cannot be read")
    assert "'00002' (broken data stream)" in message


def test_a_truncated_photo_is_found_when_it_is_decoded(caplog):
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(whole, "JPEG")
    shown = gallery(
        {"gap cam": setting((5,))}, count=1, photos=lambda index: Image.open(io.BytesIO(whole.getvalue()[:700]))
    )
    assert shown.images[0].photo == ""
    assert "truncated" in caplog.text


def test_a_mistake_of_the_caller_is_no_damaged_photo():
    with pytest.raises(AttributeError):
        gallery(two_settings(), photos=lambda index: np.zeros((4, 4, 3), np.uint8))


def test_the_page_takes_it(tmp_path):
    shown = gallery(two_settings(), photos=lambda index: Image.new("RGB", SIZE[::-1]), limit=4)
    write_page(Page("title", "made by", sections=[Section("s", "s", gallery=shown)]), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("data:image/jpeg") == 4


def test_class_names_pass_unchanged_and_may_be_too_few():
    names = ["<script>alert(1)</script>", "a|b & 'c' \"d\" \\ é", ""]
    shown = gallery(
        {"gap cam": setting((5, 4, 3, 2, 1))}, count=5, class_names=names, class_ids=[0, 1, 2, 7, -1], limit=5
    )
    assert [image.class_name for image in _in_order(shown)] == [*names, "class 7", "class -1"]


def test_another_order_of_the_images_is_refused():
    turned = replace(record(SECOND), image_ids=record(SECOND).image_ids[::-1])
    with pytest.raises(ValueError, match=r"records or maps of gmp cam are of other images"):
        gallery({"gap cam": setting(FIRST), "gmp cam": Setting(turned, None, TIGHT)})


def test_maps_of_another_order_are_refused():
    image = setting(FIRST, np.ones((6, 2, 2), np.float32))
    turned = replace(image.maps, image_ids=image.maps.image_ids[::-1])
    with pytest.raises(ValueError, match=r"records or maps of gap cam are of other images"):
        gallery({"gap cam": replace(image, maps=turned)})


def test_fewer_images_are_refused():
    with pytest.raises(ValueError, match=r"of gap cam, gmp cam are of other images"):
        gallery(two_settings(), count=5)


def test_a_record_read_at_another_threshold_is_refused():
    two = record_of([(0, 0, 5, 10)], [TRUE_BOX], thresholds=(0.2, 0.4), point=0)
    with pytest.raises(ValueError, match=r"threshold chosen on val"):
        gallery({"gap cam": Setting(two.at(0.4), None, TIGHT)}, count=1)


@pytest.mark.parametrize(("settings", "limit"), [({}, 200), (two_settings(), 0), (two_settings(), -1)])
def test_a_gallery_needs_a_setting_and_an_image(settings, limit):
    with pytest.raises(ValueError, match=r"A gallery needs a setting and an image"):
        gallery(settings, limit=limit)


def test_what_is_to_be_said_first_comes_first():
    shown = build_gallery(two_settings(), predictions(6), ["bird"], None, caption="Of seed 0.")
    assert shown.caption.startswith("Of seed 0. All 6 test images are shown.")


def _in_order(shown):
    return sorted(shown.images, key=lambda image: image.image_id)


def _ids(shown, name):
    """The images of an order, as they are stored."""
    return [int(shown.images[place].image_id) for place in shown.orders[name]]


def _into(shown, indices):
    """Indices as stored -> places in the gallery."""
    place = {int(image.image_id): number for number, image in enumerate(shown.images)}
    return [place[index] for index in indices]
