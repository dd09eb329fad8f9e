import math
from dataclasses import replace
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Annotation

from wsol.report.figures.pooling_axis import (
    AxisPoint,
    Interval,
    draw_localization_by_classification,
    draw_localization_by_sharpness,
)
from wsol.report.figures.style import COLORS, FONT, PAGE, any_signs, save_drawing, svg_of

NONE = math.nan
CELLS = 64


def point(label, share, value, **more):
    known = {"localization": Interval(value, value - 0.03, value + 0.03), "classification": Interval(0.9, 0.88, 0.92)}
    return AxisPoint(label, **{"pooling": label.split()[0], "share": share, **known, **more})


HEADS = [
    point("gap", 1.0, 0.6),
    point("gmp", 1 / 64, 0.45),
    point("lse 10", 0.1, 0.5, sharpness=10.0),
    point("lse 1", 0.8, 0.62, sharpness=1.0),
    point("lse 3", 0.4, 0.58, sharpness=3.0),
    point("gmp on scores", 0.017, 0.44, on_scores=True),
    point("gap tested as gmp", 0.016, 0.3, swapped=True),
]


def crowd():
    """Eighteen heads, most of them in one place, as real ones are."""
    rng = np.random.default_rng(0)
    names = ["gap", "gmp", "lse 1", "lse 3", "lse 10", "top_k", "gem", "tap", "mixed", "gwrp", "softmax", "attention"]
    names += ["linear_softmax", "gap on scores", "gmp on scores", "lse on scores", "wildcat on scores", "top_k 0.5"]
    return [
        point(
            name,
            float(np.exp(rng.normal(-1.5, 0.5))),
            float(rng.normal(0.5, 0.02)),
            classification=Interval(float(rng.normal(0.9, 0.01)), 0.88, 0.92),
        )
        for name in names
    ]


def by_sharpness(points, cells=CELLS):
    return draw_localization_by_sharpness(points, cells, "gt_known_loc, τ on val", "synthetic · small_cnn · cam")


def by_classification(points):
    return draw_localization_by_classification(points, "gt_known_loc, τ on val", "synthetic · small_cnn · cam")


DRAWN = [by_sharpness, by_classification]


def drawn(figure):
    FigureCanvasAgg(figure)
    with any_signs():
        figure.canvas.draw()
    return figure


def marks(figure):
    """Label -> the line that is its marker."""
    (axes,) = figure.axes
    return {line.get_label(): line for line in axes.get_lines() if line.get_marker() not in ("None", "", None)}


def at(line):
    return line.get_xdata()[0], line.get_ydata()[0]


def labels(figure, points):
    """Label -> what is written beside the point."""
    notes = [artist for artist in figure.axes[0].texts if isinstance(artist, Annotation)]
    return {artist.get_text(): artist for artist in notes if any(point.label in artist.get_text() for point in points)}


def legend(figure):
    return [text.get_text() for artist in figure.legends for text in artist.get_texts()]


def without_interval(artist):
    bare = replace(artist.localization, low=NONE, high=NONE)
    return replace(artist, localization=bare, classification=replace(artist.classification, low=NONE, high=NONE))


class TestBoth:
    @pytest.mark.parametrize("draw", DRAWN)
    def test_every_head_has_its_point_and_its_name(self, draw):
        figure = draw(HEADS)
        assert set(marks(figure)) == {head.label for head in HEADS} == set(labels(figure, HEADS))
        for head in HEADS:
            assert at(marks(figure)[head.label])[1] == head.localization.value

    @pytest.mark.parametrize("draw", DRAWN)
    def test_markers_tell_the_site_and_the_swap(self, draw):
        result = marks(draw(HEADS))
        assert {
            label: mark.get_marker() for label, mark in result.items() if label != "gmp on scores"
        } == dict.fromkeys((head.label for head in HEADS if not head.on_scores), "o")
        assert result["gmp on scores"].get_marker() == "s"
        faces = {label: mark.get_markerfacecolor() == "white" for label, mark in result.items()}
        assert [label for label, hollow in faces.items() if hollow] == ["gap tested as gmp"]
        assert [to_hex(result[label].get_markeredgecolor()) for label in ("gap", "gmp", "lse 1")] == [
            color.lower() for color in COLORS[:3]
        ]
        assert result["gap"].get_markersize() > result["lse 1"].get_markersize()

    @pytest.mark.parametrize("draw", DRAWN)
    def test_the_legend_names_what_is_there(self, draw):
        entries = legend(draw(HEADS))
        assert {"features pooled", "class scores pooled", "features pooled, by another pooling than trained"} < set(
            entries
        )
        assert entries[-1] == "95 % interval"
        plain = legend(draw([without_interval(head) for head in HEADS[:2]]))
        assert plain == ["features pooled"]

    @pytest.mark.parametrize("draw", DRAWN)
    @pytest.mark.parametrize("points", [HEADS[:1], HEADS, crowd()], ids=["one", "seven", "crowd"])
    def test_labels_overlap_nothing_that_is_written_and_stay_inside(self, draw, points):
        figure = drawn(draw(points))
        written = labels(figure, points)
        assert len(written) == len(points)
        boxes = {
            text: matplotlib.text.Text.get_window_extent(note).shrunk(0.98, 0.75) for text, note in written.items()
        }
        for (artist, first), (other, second) in combinations(boxes.items(), 2):
            assert not first.overlaps(second), (artist, other)
        frame = figure.axes[0].get_window_extent()
        for text, box in boxes.items():
            assert frame.x0 <= box.x0, text
            assert box.x1 <= frame.x1, text
            assert frame.y0 <= box.y0, text
            assert box.y1 <= frame.y1, text
        for mark in marks(figure).values():
            x, y = figure.axes[0].transData.transform(at(mark))
            assert not any(box.contains(x, y) for box in boxes.values())

    @pytest.mark.parametrize("draw", DRAWN)
    def test_everything_is_on_the_page_and_large_enough(self, draw):
        figure = drawn(draw(crowd()))
        width, height = figure.get_size_inches() * figure.dpi
        assert figure.get_size_inches()[0] == PAGE
        outside = set()  # matplotlib keeps ticks beyond the ends of an axis, and does not draw them
        for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
            low, high = axis.get_view_interval()
            outside |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
        written = [artist for artist in figure.findobj(matplotlib.text.Text) if artist.get_text().strip()]
        assert len(written) > 18
        for text in (artist for artist in written if artist not in outside):
            assert text.get_fontsize() >= FONT
            box = matplotlib.text.Text.get_window_extent(text)
            assert -0.5 <= box.x0 <= box.x1 <= width + 0.5, text
            assert -0.5 <= box.y0 <= box.y1 <= height + 0.5, text

    @pytest.mark.parametrize("draw", DRAWN)
    def test_names_are_text(self, draw):
        points = [point("a$b_c$d", 0.2, 0.5), point("_gap", 0.5, 0.6), point("two\nlines", 0.9, 0.7)]
        shown = [artist.get_text() for artist in drawn(draw(points)).axes[0].texts]
        assert {"a$b_c$d", "_gap", "two lines"} <= set(shown)

    @pytest.mark.parametrize("draw", DRAWN)
    def test_without_anything_to_draw(self, draw):
        with pytest.raises(ValueError, match="nothing to draw"):
            draw([])
        with pytest.raises(ValueError, match="nothing to draw"):
            draw([replace(HEADS[0], localization=Interval(NONE))])

    @pytest.mark.parametrize("draw", DRAWN)
    def test_the_same_drawing_is_the_same_file_and_says_what_made_it(self, draw, tmp_path):
        artist, two = (
            save_drawing(draw(HEADS[:3]), tmp_path / name, "command: x; code abc") for name in ("one", "two")
        )
        assert artist["png"].read_bytes() == two["png"].read_bytes()
        assert artist["pdf"].read_bytes() == two["pdf"].read_bytes()
        assert b"code abc" in artist["png"].read_bytes()

    @pytest.mark.parametrize("draw", DRAWN)
    def test_the_users_settings_of_matplotlib_change_nothing(self, draw):
        before = svg_of(draw(HEADS))
        with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
            assert svg_of(draw(HEADS)) == before


class TestBySharpness:
    def test_points_stand_at_their_share_on_a_logarithmic_axis(self):
        figure = by_sharpness(HEADS)
        assert figure.axes[0].get_xscale() == "log"
        assert {label: at(mark)[0] for label, mark in marks(figure).items()} == {
            head.label: head.share for head in HEADS
        }

    def test_the_ends_are_one_cell_and_the_mean(self):
        figure = drawn(by_sharpness(HEADS))
        (axes,) = figure.axes
        low, high = axes.get_xlim()
        assert low < 1 / CELLS
        assert high > 1
        ticks = dict(zip(axes.get_xticks(), (artist.get_text() for artist in axes.get_xticklabels()), strict=True))
        assert ticks[1 / CELLS] == "1.6"
        assert ticks[1.0] == "100"
        assert {"1 cell (maximum)", "all cells (mean)"} <= {artist.get_text() for artist in axes.texts}

    @pytest.mark.parametrize("cells", [1, 4, 49, 64, 196, 784])
    def test_numbers_of_the_axis_do_not_touch(self, cells):
        figure = drawn(by_sharpness([point("gap", 1.0, 0.5)], cells))
        boxes = [text.get_window_extent() for text in figure.axes[0].get_xticklabels()]
        assert len(boxes) >= (1 if cells == 1 else 2)
        assert not any(artist.overlaps(other) for artist, other in combinations(boxes, 2))

    def test_lse_is_joined_in_order_of_its_sharpness(self):
        (line,) = [artist for artist in by_sharpness(HEADS).axes[0].get_lines() if artist.get_label() == "line lse"]
        assert list(line.get_xdata()) == [0.8, 0.4, 0.1]
        assert list(line.get_ydata()) == [0.62, 0.58, 0.5]
        assert "lse, in order of its sharpness" in legend(by_sharpness(HEADS))

    def test_features_and_scores_are_joined_apart(self):
        scores = [
            point(f"lse {r:g} on scores", share, 0.4, on_scores=True, sharpness=r) for r, share in [(1, 0.9), (9, 0.3)]
        ]
        figure = by_sharpness([*HEADS, *scores])
        lines = [artist for artist in figure.axes[0].get_lines() if artist.get_label() == "line lse"]
        assert [len(artist.get_xdata()) for artist in lines] == [3, 2]
        assert {artist.get_linestyle() for artist in lines} == {"-", "--"}
        assert "lse of class scores, in order of its sharpness" in legend(figure)

    def test_one_lse_is_no_line(self):
        figure = by_sharpness([point("gap", 1.0, 0.6), point("lse 3", 0.4, 0.58, sharpness=3.0)])
        assert not any(artist.get_label() == "line lse" for artist in figure.axes[0].get_lines())

    def test_intervals_are_upright(self):
        (interval,) = [artist for artist in by_sharpness(HEADS[:1]).axes[0].get_lines() if len(artist.get_xdata()) == 2]
        assert list(interval.get_xdata()) == [1.0, 1.0]
        assert list(interval.get_ydata()) == pytest.approx([0.57, 0.63])

    def test_an_unknown_share_is_left_out(self):
        assert set(marks(by_sharpness([*HEADS[:2], point("class_token", NONE, 0.5)]))) == {"gap", "gmp"}

    @pytest.mark.parametrize("share", [0.001, 1.2])
    def test_a_share_beyond_the_ends_is_refused(self, share):
        with pytest.raises(ValueError, match=r"share of 'gem' must lie in \[1 / 64, 1\]"):
            by_sharpness([point("gem", share, 0.5)])


class TestByClassification:
    def test_intervals_are_a_cross(self):
        figure = by_classification(HEADS[:1])
        across, upright = [artist for artist in figure.axes[0].get_lines() if len(artist.get_xdata()) == 2]
        assert (list(across.get_xdata()), list(across.get_ydata())) == ([0.88, 0.92], [0.6, 0.6])
        assert list(upright.get_xdata()) == [0.9, 0.9]
        assert list(upright.get_ydata()) == pytest.approx([0.57, 0.63])

    def test_a_share_is_not_needed(self):
        assert set(marks(by_classification([point("class_token", NONE, 0.5)]))) == {"class_token"}

    def test_a_swapped_head_far_off_stands_at_the_edge_and_says_where_it_is(self):
        far = replace(HEADS[-1], classification=Interval(0.11, 0.09, 0.13))
        figure = by_classification([*HEADS[:-1], far])
        low, high = figure.axes[0].get_xlim()
        assert 0.8 < low < high < 1
        (mark,) = [mark for label, mark in marks(figure).items() if "tested as" in label]
        assert at(mark) == (low, 0.3)
        assert "← gap tested as gmp, top-1 11 %" in labels(figure, HEADS)

    def test_a_trained_head_far_off_is_shown_where_it_is(self):
        weak = point("tap", 0.3, 0.5, classification=Interval(0.2, 0.15, 0.25))
        figure = by_classification([*HEADS[:2], weak])
        assert figure.axes[0].get_xlim()[0] < 0.15
        assert at(marks(figure)["tap"])[0] == 0.2

    def test_swapped_heads_alone(self):
        figure = by_classification([replace(HEADS[-1], classification=Interval(0.11, 0.09, 0.13))])
        assert at(marks(figure)["gap tested as gmp"])[0] == 0.11
