import re
import warnings
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from wsol.comparison.diagnosis import ERROR_TYPES
from wsol.report.figures.curves import ORACLE, draw_accuracy_by_iou, draw_accuracy_by_threshold
from wsol.report.figures.diagnosis import draw_area_ratios, draw_breakdown, draw_differences, draw_error_types
from wsol.report.figures.style import COLUMN, FONT, PAGE, any_signs, save_drawing, short_names, svg_of

HOSTILE = ["a$b_c$d", "_gap", "<script>alert(1)</script>", "two\nlines", "long " * 30, "long " * 31, "鳥", ""]
THRESHOLDS = np.arange(0, 1, 0.01)
WIDE = ["W" * 60, "M" * 60]
NAMES = [["gap"], ["gap", "gmp"], HOSTILE, WIDE]


def threshold_curves(names, seeds=3):
    rng = np.random.default_rng(0)
    rise = np.exp(-(((THRESHOLDS - 0.35) / 0.2) ** 2))
    return {name: np.clip(0.6 * rise + rng.normal(0, 0.02, (seeds, 1)), 0, 1) for name in names}


def draw_thresholds(names, seeds=3):
    points = {name: {"val": [0.3] * seeds, "oracle": [0.35] * seeds} for name in names}
    return draw_accuracy_by_threshold(threshold_curves(names, seeds), THRESHOLDS, points)


def draw_ious(names, seeds=3):
    return draw_accuracy_by_iou(
        {name: np.linspace(1, 0, 19)[None].repeat(seeds, 0) for name in names}, THRESHOLDS[5::5]
    )


def shares(*values):
    return pd.DataFrame({"error": ERROR_TYPES, "share": values, "std": [0.01] * 6})


def draw_shares(names):
    return draw_error_types({name: shares(0.5, 0.1, 0.2, 0.1, 0.08, 0.02) for name in names})


def draw_ratios(names):
    rng = np.random.default_rng(0)
    return draw_area_ratios({name: rng.normal(0, 1, 500) for name in names})


def groups(count, std=0.05, prefix="class "):
    accuracy = np.arange(count) / count
    names = [f"{prefix}{n}" for n in range(count)]
    return pd.DataFrame({"group": names, "images": 30, "gt_known_loc": accuracy, "std": std})


def draw_groups(names, count=12):
    return draw_breakdown({name: groups(count) for name in names}, "Class of $a_b$ <b>")


def draw_forest(names):
    values = np.linspace(-0.1, 0.1, len(names))
    return draw_differences(names, values, values - 0.03, values + 0.03, "GMP − GAP of $a_b$ <b>")


DRAWN = [draw_thresholds, draw_ious, draw_shares, draw_ratios, draw_groups, draw_forest]


def texts(figure):
    """All that is written, once drawn."""
    FigureCanvasAgg(figure)
    with any_signs():
        figure.canvas.draw()
    outside = set()  # matplotlib keeps ticks beyond the ends of an axis, and does not draw them
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        outside |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    return [text for text in figure.findobj(Text) if text.get_text().strip() and text not in outside]


def said(figure):
    return [text.get_text() for text in texts(figure)]


class TestEveryFigure:
    @pytest.mark.parametrize("names", NAMES, ids=["one", "two", "hostile", "wide"])
    @pytest.mark.parametrize("draw", DRAWN)
    def test_nothing_is_clipped_or_too_small(self, draw, names):
        figure = draw(names)
        written = texts(figure)
        width, height = figure.get_size_inches() * figure.dpi
        assert figure.get_size_inches()[0] in (COLUMN, PAGE)
        for text in written:
            assert text.get_fontsize() >= FONT
            box = text.get_window_extent()
            assert box.x0 >= -0.5, text
            assert box.y0 >= -0.5, text
            assert box.x1 <= width + 0.5, text
            assert box.y1 <= height + 0.5, text

    @pytest.mark.parametrize("draw", DRAWN)
    def test_names_are_shown_as_text(self, draw):
        written = texts(draw(HOSTILE))
        shown = " | ".join(text.get_text() for text in written)
        for name in ("a$b_c$d", "_gap", "<script>alert", "two lines", "鳥", "(no name)"):
            assert name in shown
        assert not any(text.get_parse_math() for text in written if "$" in text.get_text())

    @pytest.mark.parametrize("draw", DRAWN)
    def test_the_legend_hides_no_data(self, draw):
        figure = draw(HOSTILE)
        texts(figure)
        (axes,) = figure.axes
        assert axes.get_legend() is None
        for legend in figure.legends:
            assert legend.get_window_extent().y1 <= axes.get_tightbbox().y0

    @pytest.mark.parametrize("draw", DRAWN)
    def test_lines_of_text_do_not_overlap(self, draw):
        figure = draw(HOSTILE)
        texts(figure)
        (axes,) = figure.axes
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            boxes = [label.get_window_extent() for label in labels if label.get_text()]
            assert not any(one.overlaps(other) for one, other in pairwise(boxes))

    @pytest.mark.parametrize("draw", DRAWN)
    def test_without_anything_to_draw(self, draw):
        with pytest.raises(ValueError, match="nothing to draw"):
            draw([])

    @pytest.mark.parametrize("draw", [draw_thresholds, draw_ious, draw_groups])
    def test_more_than_can_be_distinguished(self, draw):
        with pytest.raises(ValueError, match="at most 8 settings"):
            draw([str(n) for n in range(9)])

    @pytest.mark.parametrize("draw", [draw_shares, draw_ratios, draw_forest])
    def test_rows_may_be_many(self, draw):
        names = [f"setting {n}" for n in range(30)]
        shown = said(draw(names))
        assert set(names) <= set(shown)

    def test_the_users_settings_of_matplotlib_change_nothing(self):
        before = svg_of(draw_shares(["gap"]))
        with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "text.parse_math": True}):
            changed = svg_of(draw_shares(["gap"]))
            assert matplotlib.rcParams["font.size"] == 20
        assert changed == before


class TestAccuracyByThreshold:
    def lines(self, figure):
        (axes,) = figure.axes
        return axes.get_lines()

    def test_the_line_is_the_mean_and_the_band_the_range(self):
        curve = np.array([[0.2, 0.4, 0.0], [0.4, 0.8, 0.1]])
        figure = draw_accuracy_by_threshold({"gap": curve}, np.array([0.0, 0.2, 0.4]), {}, fixed=None)
        (line,) = self.lines(figure)
        assert line.get_ydata().tolist() == pytest.approx([0.3, 0.6, 0.05])
        (band,) = figure.axes[0].collections
        corners = band.get_paths()[0].vertices
        assert corners[:, 1].min() == 0
        assert corners[:, 1].max() == 0.8

    def test_points_stand_on_the_curves_of_their_seeds(self):
        curve = np.array([[0.2, 0.4, 0.0], [0.4, 0.8, 0.1]])
        points = {"gap": {"val": [0.0, 0.4], "oracle": [0.2, 0.2]}}
        figure = draw_accuracy_by_threshold({"gap": curve}, np.array([0.0, 0.2, 0.4]), points, fixed=0.2)
        _, fixed, val, oracle = self.lines(figure)
        assert list(fixed.get_xdata()) == [0.2, 0.2]
        assert (list(val.get_xdata()), list(val.get_ydata())) == ([0.0, 0.4], [0.2, 0.1])
        assert (list(oracle.get_xdata()), list(oracle.get_ydata())) == ([0.2, 0.2], [0.4, 0.8])
        assert val.get_markerfacecolor() != "none" == oracle.get_markerfacecolor()
        assert {"fixed τ = 0.2", "τ chosen on val", "best τ on test (oracle)", "range over seeds"} <= set(said(figure))

    def test_many_points_become_one_for_each_setting_and_it_says_so(self):
        figure = draw_thresholds(["gap", "gmp"], seeds=10)
        marks = [line for line in self.lines(figure) if line.get_marker() == "o"]
        assert [len(mark.get_xdata()) for mark in marks] == [1] * 4
        assert {"mean τ chosen on val", "mean best τ (oracle)"} <= set(said(figure))

    def test_one_seed_has_no_band(self):
        figure = draw_thresholds(["gap"], seeds=1)
        assert len(figure.axes[0].collections) == 0
        assert "range over seeds" not in said(figure)

    def test_accuracy_is_printed_in_percent(self):
        assert {"0", "20", "40", "60"} <= set(said(draw_thresholds(["gap"])))

    @pytest.mark.parametrize(
        ("points", "message"),
        [
            ({"gmp": {"val": [0.2, 0.2]}}, r"got \['gmp'\]"),
            ({"gap": {"test": [0.2, 0.2]}}, r"'val' or 'oracle', got \['test'\]"),
            ({"gap": {ORACLE: [0.2]}}, "'oracle' of 'gap' are 1, but there are 2 seeds"),
            ({"gap": {ORACLE: [0.2, 0.3]}}, r"τ = 0\.3, which is not among the 3 thresholds"),
        ],
    )
    def test_points_of_something_else_are_refused(self, points, message):
        with pytest.raises(ValueError, match=message):
            draw_accuracy_by_threshold({"gap": np.zeros((2, 3))}, np.array([0.0, 0.2, 0.4]), points)

    def test_a_curve_of_another_length_is_refused(self):
        with pytest.raises(ValueError, match="a curve of 4 values over 3 thresholds"):
            draw_accuracy_by_threshold({"gap": np.zeros((2, 4))}, np.array([0.0, 0.2, 0.4]), {})

    def test_a_thousand_thresholds_stay_small(self):
        grid = np.arange(0, 1, 0.001)
        rng = np.random.default_rng(0)
        curves = {name: rng.random((5, 1000)).cumsum(axis=1) / 1000 for name in HOSTILE}
        assert len(svg_of(draw_accuracy_by_threshold(curves, grid, {}))) < 300_000

    def test_nothing_is_ever_hit(self):
        figure = draw_accuracy_by_threshold({"gap": np.zeros((2, 3))}, np.array([0.0, 0.2, 0.4]), {})
        assert figure.axes[0].get_ylim()[1] > 0


def test_accuracy_by_iou_is_drawn_at_its_thresholds():
    figure = draw_accuracy_by_iou({"gap": np.array([[1.0, 0.5, 0.0]])}, [0.25, 0.5, 0.75])
    (line,) = figure.axes[0].get_lines()
    assert line.get_xdata().tolist() == [0.25, 0.5, 0.75]
    assert line.get_ydata().tolist() == [1.0, 0.5, 0.0]


class TestErrorTypes:
    def test_bars_follow_each_other_up_to_the_whole(self):
        figure = draw_error_types({"gap": shares(0.5, 0.1, 0.2, 0.1, 0.08, 0.02)})
        bars = [bar for container in figure.axes[0].containers for bar in container]
        assert [bar.get_width() for bar in bars] == pytest.approx([0.5, 0.1, 0.2, 0.1, 0.08, 0.02])
        assert [bar.get_x() for bar in bars] == pytest.approx([0, 0.5, 0.6, 0.8, 0.9, 0.98])
        assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in bars}) == 6

    def test_numbers_are_printed_where_they_fit(self):
        shown = said(draw_error_types({"gap": shares(0.51, 0.13, 0.21, 0.09, 0.05, 0.01)}))
        assert {"51", "13", "21", "9", "5"} <= set(shown)
        assert "1" not in shown

    def test_the_order_of_a_frame_does_not_matter(self):
        frame = shares(0.5, 0.1, 0.2, 0.1, 0.08, 0.02)
        assert svg_of(draw_error_types({"gap": frame})) == svg_of(draw_error_types({"gap": frame[::-1]}))


class TestAreaRatios:
    def test_medians_are_printed_as_ratios(self):
        shown = said(draw_area_ratios({"gap": np.array([-2.0, -1.0, 3.0]), "gmp": np.array([0.5])}))
        assert "0.50" in shown
        assert "1.41" in shown
        assert {"1/4", "1", "4"} <= set(shown)

    def test_without_a_box(self):
        assert "no box" in said(draw_area_ratios({"gap": np.array([]), "gmp": np.array([0.0, 1.0])}))
        assert "no box" in said(draw_area_ratios({"gap": np.array([])}))

    def test_the_ends_say_that_more_lies_beyond(self):
        inside = np.zeros(1000)
        beyond = np.r_[np.zeros(999), -9.0]
        assert "≤ 1/2" not in said(draw_area_ratios({"gap": inside}))
        assert {"≤ 1/2", "≥ 2"} <= set(said(draw_area_ratios({"gap": beyond})))

    def test_every_image_is_drawn(self):
        figure = draw_area_ratios({"gap": np.r_[np.zeros(30), np.full(10, 50.0), np.full(20, -50.0)]})
        filled, _ = figure.axes[0].patches
        heights = filled.get_data().baseline - filled.get_data().values
        assert heights.max() == pytest.approx(0.8)  # 30 images
        assert heights.sum() == pytest.approx(0.8 * 60 / 30)


class TestBreakdown:
    def rows(self, figure):
        texts(figure)
        return [label.get_text() for label in figure.axes[0].get_yticklabels()]

    def test_few_groups_keep_their_order(self):
        frame = groups(3).iloc[[2, 0, 1]]
        assert self.rows(draw_breakdown({"gap": frame})) == ["class 2 (30)", "class 0 (30)", "class 1 (30)"]

    def test_of_many_the_lowest_and_the_highest_are_shown_and_it_says_so(self):
        figure = draw_breakdown({"gap": groups(200)}, "Class", most=6)
        assert self.rows(figure) == [f"class {n} (30)" for n in (0, 1, 2, 197, 198, 199)]
        assert "Class\nthe 3 lowest and 3 highest of 200 groups" in said(figure)

    def test_many_settings_leave_room_for_fewer_groups(self):
        figure = draw_groups([str(n) for n in range(8)], count=200)
        assert figure.get_size_inches()[1] < 10
        assert "the 5 lowest and 5 highest of 200 groups" in "".join(said(figure))

    def test_groups_are_ranked_by_the_mean_over_settings(self):
        one, other = groups(3), groups(3)
        other["gt_known_loc"] = [0.9, 0.0, 0.0]
        assert self.rows(draw_breakdown({"a": one, "b": other}, most=2)) == ["class 1 (30)", "class 0 (30)"]

    def test_dots_and_spread(self):
        figure = draw_breakdown({"gap": groups(2)})
        (dots,) = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
        assert dots.get_xdata().tolist() == [0, 0.5]
        (spread,) = figure.axes[0].collections
        assert spread.get_segments()[1][:, 0].tolist() == pytest.approx([0.45, 0.55])
        low, high = figure.axes[0].get_xlim()
        assert low == 0  # where the standard deviation reaches below
        assert high <= 1
        assert "± std over seeds" in said(figure)

    def test_one_seed_has_no_spread(self):
        assert "± std over seeds" not in said(draw_breakdown({"gap": groups(2, std=np.nan)}))

    def test_names_that_are_cut_alike_stay_different(self):
        rows = self.rows(draw_breakdown({"gap": groups(3, prefix="a very long species name, number ")}))
        assert len(set(rows)) == 3

    def test_other_groups_are_refused(self):
        with pytest.raises(ValueError, match="'gmp' has other groups than 'gap'"):
            draw_breakdown({"gap": groups(3), "gmp": groups(4)})
        with pytest.raises(ValueError, match="no group to draw"):
            draw_breakdown({"gap": groups(0)})


class TestDifferences:
    def marks(self, figure):
        return [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]

    def test_fractions_become_points(self):
        figure = draw_differences(["a"], [0.032], [-0.01], [0.054])
        assert "+3.2 [−1.0, +5.4]" in said(figure)
        assert "difference (points)" in said(figure)
        assert list(self.marks(figure)[0].get_xdata()) == [pytest.approx(3.2)]

    def test_a_mark_is_filled_where_the_interval_leaves_out_zero(self):
        none = np.nan
        figure = draw_differences("abcd", [0.1, -0.1, 0.1, 0.1], [0.05, -0.2, -0.1, none], [0.2, -0.05, 0.2, none])
        faces = [mark.get_markerfacecolor() for mark in self.marks(figure)]
        assert [face == "white" for face in faces] == [False, False, True, True]

    def test_what_is_not_known_is_said(self):
        figure = draw_differences("ab", [np.nan, 0.1], [np.nan] * 2, [np.nan] * 2)
        assert {"not measured", "+10.0"} <= set(said(figure))

    def test_nothing_is_known_at_all(self):
        assert "not measured" in said(draw_differences(["a"], [np.nan], [np.nan], [np.nan]))

    @pytest.mark.parametrize("width", [COLUMN, PAGE])
    def test_a_long_title_is_cut_to_the_width(self, width):
        figure = draw_differences(["a"], [0.1], [0.0], [0.2], title="W" * 200, width=width)
        (title,) = [text for text in texts(figure) if "WWW" in text.get_text()]
        assert title.get_text().endswith("W…")
        assert width - 0.4 < title.get_window_extent().x1 / figure.dpi <= width

    def test_other_lengths_are_refused(self):
        with pytest.raises(ValueError, match="2 names, 1 values"):
            draw_differences(["a", "b"], [0.1], [0.0], [0.2])


class TestFiles:
    ABOUT = "python benchmarks/report.py τ=0.2 (commit abc123)"

    def test_both_files_say_what_made_them(self, tmp_path):
        paths = save_drawing(draw_shares(["gap"]), tmp_path / "new" / "errors.v1", self.ABOUT)
        assert paths == {"png": tmp_path / "new" / "errors.v1.png", "pdf": tmp_path / "new" / "errors.v1.pdf"}
        assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["errors.v1.pdf", "errors.v1.png"]
        with Image.open(paths["png"]) as image:
            assert image.text == {"Description": self.ABOUT}
            assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
            assert image.width == 7 * 200
        pdf = paths["pdf"].read_bytes()
        assert pdf.startswith(b"%PDF")
        assert self.ABOUT.encode("utf-16-be") in pdf.replace(b"\\(", b"(").replace(b"\\)", b")")
        assert b"/Subtype /Type3" not in pdf
        assert b"CreationDate" not in pdf

    @pytest.mark.parametrize("draw", [draw_thresholds, draw_shares])
    def test_the_same_drawing_is_the_same_file(self, draw, tmp_path):
        one = save_drawing(draw(["gap", "gmp"]), tmp_path / "one", "x")
        two = save_drawing(draw(["gap", "gmp"]), tmp_path / "two", "x")
        assert one["png"].read_bytes() == two["png"].read_bytes()
        assert one["pdf"].read_bytes() == two["pdf"].read_bytes()

    def test_a_figure_that_cannot_be_drawn_leaves_no_file(self, tmp_path):
        figure = draw_shares(["gap"])
        figure.axes[0].set_title("$\\nonsense$", parse_math=True)
        with pytest.raises(ValueError, match="nonsense"):
            save_drawing(figure, tmp_path / "one", "x")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("draw", DRAWN)
    def test_svg_is_text_without_a_script(self, draw):
        svg = svg_of(draw(HOSTILE))
        assert svg.startswith("<svg ")
        tree = ElementTree.fromstring(svg)
        names = {element.tag.rpartition("}")[2] for element in tree.iter()}
        assert "script" not in names
        written = ["".join(text.itertext()) for text in tree.iter("{http://www.w3.org/2000/svg}text")]
        assert any(text.startswith("<script>alert") for text in written)
        assert any("a$b_c$d" in text for text in written)
        assert any("鳥" in text for text in written)

    @pytest.mark.parametrize("draw", DRAWN)
    def test_svg_is_the_same_every_time(self, draw):
        svg = svg_of(draw(["gap", "gmp"]))
        assert svg == svg_of(draw(["gap", "gmp"]))
        assert "<dc:date>" not in svg

    def test_svgs_in_one_page_share_no_id(self):
        seen = set()
        for draw in DRAWN:
            svg = svg_of(draw(["gap", "gmp"]))
            ids = re.findall(r'\bid="([^"]*)"', svg)
            used = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', svg)
            assert len(set(ids)) == len(ids)
            assert {one or other for one, other in used} <= set(ids)
            assert not seen & set(ids)
            seen |= set(ids)

    def test_ids_are_changed_in_tags_and_not_in_text(self):
        name = 'id="x" url(#y)'
        tree = ElementTree.fromstring(svg_of(draw_shares([name])))
        assert name in {text.text for text in tree.iter("{http://www.w3.org/2000/svg}text")}


def test_short_names():
    assert short_names(["gap", "a\nb", "", "gap"], 8) == ["gap", "a b", "(no name)", "gap (2)"]
    assert short_names(["1234567890", "1234567891", "1234567892"], 8) == ["1234567…", "123… (2)", "123… (3)"]


def test_a_sign_without_a_glyph_makes_no_warning_in_a_file(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_drawing(draw_shares(["鳥"]), tmp_path / "one", "鳥")
        svg_of(draw_groups(["鳥"]))
