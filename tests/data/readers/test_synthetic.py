import numpy as np
import pytest

from wsol.data.birds.drawing import bounding_box, draw
from wsol.data.birds.world import BirdSettings, species_colors
from wsol.data.readers.synthetic import synthetic

FEW = {"train_images": 20, "val_images": 10, "test_images": 12, "image_size": 32}


def drawings(count=30, **knobs):
    settings = BirdSettings(**knobs)
    colors = species_colors(settings)
    generators = [np.random.default_rng([0, index]) for index in range(count)]
    return [draw(settings, colors, index % settings.num_classes, one) for index, one in enumerate(generators)]


def samples(split):
    return [split[index] for index in range(len(split))]


def test_three_splits_of_all_species(tmp_path):
    splits = synthetic(cache_dir=tmp_path, **FEW)
    assert splits.num_classes == 10
    assert [len(one) for one in (splits.train, splits.val, splits.test)] == [20, 10, 12]
    assert set(splits.train.class_ids) == set(range(10))
    assert splits.test[0].image.shape == (32, 32, 3)
    assert samples(splits.train)[0].boxes.shape == (0, 4)


def test_boxes_are_those_of_the_masks(tmp_path):
    for sample in samples(synthetic(cache_dir=tmp_path, **FEW).test):
        assert sample.boxes.tolist() == [bounding_box(sample.mask)]
        for x0, y0, x1, y1 in sample.part_boxes.values():
            assert sample.boxes[0, 0] <= x0 < x1 <= sample.boxes[0, 2]
            assert sample.boxes[0, 1] <= y0 < y1 <= sample.boxes[0, 3]
        assert {"head", "body"} & set(sample.part_boxes)


def test_the_same_seed_gives_the_same_images_and_another_one_does_not(tmp_path):
    first = synthetic(cache_dir=tmp_path / "a", **FEW)
    again = synthetic(cache_dir=tmp_path / "b", **FEW)
    other = synthetic(cache_dir=tmp_path / "c", seed=1, **FEW)
    for one, two, three in zip(samples(first.test), samples(again.test), samples(other.test), strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        assert not np.array_equal(one.image, three.image)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_pixels_are_what_they_were_when_tables_were_made(tmp_path):
    # A change here means other data under the same settings: raise GENERATOR_VERSION and make the tables anew.
    image = synthetic(cache_dir=tmp_path, **FEW).test[0].image
    assert image[16].sum(axis=0).tolist() == [3456, 4402, 3570]


def test_a_larger_split_starts_with_the_smaller_one(tmp_path):
    few, more = synthetic(cache_dir=tmp_path, **FEW), synthetic(cache_dir=tmp_path, **{**FEW, "test_images": 15})
    np.testing.assert_array_equal(few.test[11].image, more.test[11].image)


def test_the_cache_is_used_and_a_damaged_one_replaced(tmp_path, caplog):
    fresh = synthetic(cache_dir=tmp_path, **FEW).test[0].image
    (cached,) = tmp_path.glob("*-test-*.npz")
    written = cached.stat().st_mtime_ns
    synthetic(cache_dir=tmp_path, **FEW)
    assert cached.stat().st_mtime_ns == written
    cached.write_bytes(cached.read_bytes()[:1000])
    np.testing.assert_array_equal(synthetic(cache_dir=tmp_path, **FEW).test[0].image, fresh)
    assert "cannot be read" in caplog.text
    assert cached.stat().st_size > 1000


def test_a_cache_that_cannot_be_written_costs_no_run(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    assert len(synthetic(cache_dir=tmp_path / "file", **FEW).test) == 12
    assert "cannot be written" in caplog.text


class TestKnobs:
    def test_evidence(self):
        def spread(part):  # how much the mean colour of a part differs between species, without jitter
            means = []
            for index, one in enumerate(drawings(20, color_jitter=0, clutter=0, distractors=0, **knobs)):
                x0, y0, x1, y1 = one.part_boxes[["tail", "body", "wing", "head", "beak"].index(part)].astype(int)
                middle = one.image[(y0 + y1) // 2, (x0 + x1) // 2].astype(float)
                means.append((index % 10, middle - middle.mean()))
            return np.std([value for _, value in means])

        knobs = {"head_evidence": 1.0, "body_evidence": 0.0}
        assert spread("head") > 5 * spread("wing")
        knobs = {"head_evidence": 0.0, "body_evidence": 1.0}
        assert spread("wing") > 5 * spread("head")

    def test_object_scale(self):
        def area(scale):
            return np.mean([one.mask.mean() for one in drawings(object_scale=(scale, scale), clutter=0)])

        assert area(0.8) == pytest.approx(4 * area(0.4), rel=0.15)

    def test_extent_moves_the_object_away_from_its_head(self):
        def share(extent):
            ratios = []
            for one in drawings(extent=extent, clutter=0, object_scale=(0.8, 0.8)):
                (hx0, hy0, hx1, hy1), (x0, y0, x1, y1) = one.part_boxes[3], one.boxes[0]
                ratios.append((hx1 - hx0) * (hy1 - hy0) / ((x1 - x0) * (y1 - y0)))
            return np.mean(ratios)

        assert share(0.6) > 1.5 * share(1.6)

    def test_clutter_and_distractors_change_the_background(self):
        def roughness(**knobs):
            found = [
                np.abs(np.diff(one.image.astype(float), axis=1))[~one.mask[:, 1:]].mean() for one in drawings(**knobs)
            ]
            return np.mean(found)

        plain = roughness(clutter=0, distractors=0)
        assert roughness(clutter=1, distractors=0) > 1.5 * plain
        assert roughness(clutter=0, distractors=20) > 1.2 * plain

    def test_background_correlation(self):
        def spread_within_species(correlation):
            found = drawings(40, background_correlation=correlation, clutter=0, distractors=0, color_jitter=0)
            corners = np.array([one.image[0, 0].astype(float) - one.image[0, 0].mean() for one in found])
            return np.mean([corners[species::10].std(axis=0).mean() for species in range(10)])

        assert spread_within_species(1.0) < 0.3 * spread_within_species(0.0)

    def test_color_jitter(self):
        def chroma(jitter):  # of birds without any evidence, which are gray but for the jitter
            plain = {"head_evidence": 0, "body_evidence": 0, "clutter": 0, "distractors": 0}
            means = [one.image[one.mask].mean(axis=0) for one in drawings(color_jitter=jitter, **plain)]
            return np.mean([mean.std() for mean in means])

        assert chroma(1.0) > 5 * chroma(0.0)

    def test_instances(self):
        found = drawings(10, instances=3, object_scale=(0.3, 0.4))
        assert {len(one.boxes) for one in found} == {3}
        assert all((one.boxes[:, 2:] > one.boxes[:, :2]).all() for one in found)

    def test_background_follows_class_count(self):
        assert len(species_colors(BirdSettings(num_classes=37))["head"]) == 37


def test_no_two_of_the_first_64_species_share_the_colours_of_all_large_parts():
    colors = species_colors(BirdSettings(num_classes=64))
    large = np.concatenate([colors[part] for part in ("tail", "body", "wing")], axis=1)
    assert len(np.unique(large.round(6), axis=0)) == 64


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"clutter": 1.5}, r"clutter must lie in \[0, 1\], got 1.5"),
        ({"object_scale": [0.9, 0.3]}, "object_scale"),
        ({"object_scale": 0.5}, r"object_scale must be two numbers, \(shortest, longest\), got 0\.5"),
        ({"object_scale": [0.5]}, r"object_scale must be two numbers"),
        ({"distractors": 1.5}, r"distractors must be a whole number, got 1\.5"),
        ({"clutter": [0.5]}, r"clutter must be a number, got \[0\.5\]"),
        ({"clutter": True}, r"clutter must be a number, got True"),
        ({"instances": 0}, "instances"),
        ({"num_classes": 1}, "num_classes"),
        ({"test_images": 3}, "test_images must be at least num_classes"),
    ],
)
def test_bad_knobs_are_named(tmp_path, knobs, message):
    with pytest.raises(ValueError, match=message):
        synthetic(cache_dir=tmp_path, **{**FEW, **knobs})


def test_an_unknown_knob_is_named(tmp_path):
    with pytest.raises(TypeError, match="cluter"):
        synthetic(cache_dir=tmp_path, cluter=0.5, **FEW)
