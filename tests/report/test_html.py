import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from page_samples import (
    COMMAND,
    ENDS_SCRIPT,
    PICTURE,
    RUNS,
    SCRIPT,
    SVG,
    gallery,
    sample_page,
    shown,
)
from wsol.report.content import Answer, Cell, Column, Drawing, Gallery, Page, RunCard, Section, Table
from wsol.report.html import (
    column_groups,
    drawing_width,
    gallery_choices,
    island,
    missing_text,
    numeric_columns,
    p_value,
    sort_value,
    write_page,
)

ADDRESSES = {"src", "href", "srcset", "action", "data", "poster", "formaction", "xlink:href"}


class Seen(HTMLParser):
    """Elements, ids, addresses and text of a page, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.targets: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []
        self.islands: list[dict] = []
        self.inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.inside = "island" if dict(attributes).get("type") == "application/json" else tag
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ADDRESSES:
                self.addresses.append(value)
            if name == "popovertarget" or (name == "href" and value.startswith("#")):
                self.targets.append(value.removeprefix("#"))
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "island":
            self.islands.append(json.loads(data))
        elif self.inside not in ("script", "style"):
            self.text.append(data)


def written(page, tmp_path) -> Seen:
    return Seen(html_of(page, tmp_path))


def html_of(page, tmp_path) -> str:
    path = tmp_path / "report.html"
    write_page(page, path)
    assert [result.name for result in tmp_path.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def table_page(*rows, columns=("setting", "n"), runs=RUNS):
    table = Table("Scores", [Column(text) for text in columns], rows)
    return Page("t", "m", sections=[Section("s", "S", tables=[table])], runs=[RunCard(name) for name in runs])


def gallery_page(shown_gallery):
    return Page("t", "m", sections=[Section("s", "S", gallery=shown_gallery)])


def test_a_page_of_nothing_can_be_read(tmp_path):
    seen = written(Page("Nothing", "by hand"), tmp_path)
    text = "".join(seen.text)
    assert "No claim was tested on these runs." in text
    assert "There are no runs." in text
    assert set(seen.targets) <= set(seen.ids)


def test_a_page_of_one_run_links_its_number_to_it(tmp_path):
    page = table_page([Cell("gap", "gap"), Cell("68.9", 0.689, runs=["one"])], runs=["one"])
    html = html_of(page, tmp_path)
    assert '<a class="run" href="#run-one">68.9</a>' in html
    assert '<details class="run-card" id="run-one">' in html
    assert 'popovertarget="' not in html


def test_hostile_text_adds_no_element(tmp_path):
    seen = written(sample_page(), tmp_path)
    # Two scripts of ours and one island; the pictures are the section's two drawings.
    assert seen.tags["script"] == 3
    assert seen.tags["img"] == 2
    assert seen.handlers == []
    assert SCRIPT in seen.text
    assert PICTURE in seen.text


def test_names_in_an_island_end_no_script_and_open_no_comment(tmp_path):
    html = html_of(sample_page(), tmp_path)
    (data,) = Seen(html).islands
    assert data["images"][0]["id"] == ENDS_SCRIPT
    text = html.split('<script type="application/json">')[1].split("</script>")[0]
    assert not set("<>&") & set(text)


@pytest.mark.parametrize("name", ["</script>", "<!--", "]]>", "\u2028", "&lt;", "\\u003c", '"', "\x00", "\udcff"])
def test_an_island_holds_any_name(name):
    text = island({name: name})
    assert json.loads(text) == {name: name}
    assert not set("<>&\u2028") & set(text)


def test_an_island_refuses_what_json_has_not():
    with pytest.raises(ValueError, match="not JSON compliant"):
        island([float("nan")])


def test_a_file_name_that_is_not_utf8_can_be_written(tmp_path):
    assert r"bird\udcff" in html_of(table_page([Cell("bird\udcff", "bird\udcff"), Cell("1", 1)]), tmp_path)


def test_every_link_has_one_target(tmp_path):
    seen = written(sample_page(), tmp_path)
    assert seen.targets
    assert set(seen.targets) <= set(seen.ids)
    assert len(set(seen.ids)) == len(seen.ids)


def test_the_page_asks_for_nothing(tmp_path):
    html = html_of(sample_page(), tmp_path)
    assert all(address.startswith(("#", "data:")) for address in Seen(html).addresses)
    # Names of XML vocabularies look like addresses, and nobody loads them.
    assert set(re.findall(r"(?:https?|wss?|ftp)://[^\s\"'<>]*", html)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(", html)


def test_the_policy_lets_nothing_else_run_or_load(tmp_path):
    html = html_of(sample_page(), tmp_path)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src &#39;none&#39;;")
    assert "unsafe" not in policy


@pytest.mark.parametrize("names", [["a b", "a/b", "a-b-2", "a-b"], [SCRIPT, PICTURE], ["日本", "", "##"]])
def test_anchors_of_hostile_names_are_safe_and_differ(names, tmp_path):
    seen = written(Page("t", "m", runs=[RunCard(name) for name in names]), tmp_path)
    anchors = [part for part in seen.ids if part.startswith("run-")]
    assert len(set(anchors)) == len(names)
    assert all(re.fullmatch(r"run-[A-Za-z0-9-]+", part) for part in anchors)


def test_a_run_keeps_its_anchor_when_others_come_before_it(tmp_path):
    seen = written(Page("t", "m", runs=[RunCard("zero"), RunCard("cub-gap-s0-1c9f02ab")]), tmp_path)
    assert "run-cub-gap-s0-1c9f02ab" in seen.ids


def test_cells_of_the_same_runs_share_one_list(tmp_path):
    cell = Cell("1", 1.0, runs=RUNS[:2])
    html = html_of(table_page([Cell("a", "a"), cell], [Cell("b", "b"), cell]), tmp_path)
    assert html.count('popovertarget="runs-1"') == 2
    assert html.count("<div popover") == 1


def test_a_run_that_the_page_does_not_hold_is_text(tmp_path):
    seen = written(table_page([Cell("a", "a"), Cell("1", 1.0, runs=["gone"])]), tmp_path)
    assert "run-gone" not in seen.targets


def test_a_missing_cell_says_so_and_shows_its_command(tmp_path):
    html = html_of(table_page([Cell("a", "a"), Cell("–", command=f"{COMMAND} & {SCRIPT}")]), tmp_path)
    assert re.search(r'<td class="word"><div><button[^>]*popovertarget="command-1">missing</button>', html)
    seen = Seen(html)
    assert f"{COMMAND} & {SCRIPT}" in seen.text


@pytest.mark.parametrize(
    ("text", "shown_text"),
    [("", "missing"), ("–", "missing"), ("Missing", "Missing"), ("1 of 3 seeds", "1 of 3 seeds missing")],
)
def test_text_of_a_missing_cell(text, shown_text):
    assert missing_text(Cell(text, command="make demo")) == shown_text


@pytest.mark.parametrize(
    ("value", "sorted_by"),
    [
        (None, None),
        (float("nan"), None),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (0, "0.0"),
        (1e-9, "1e-09"),
        ("a", "a"),
        ("", ""),
    ],
)
def test_what_a_cell_sorts_by(value, sorted_by):
    assert sort_value(Cell("", value)) == sorted_by


def test_a_column_with_one_word_is_no_column_of_numbers():
    rows = [[Cell("", 1), Cell("", 1), Cell("")], [Cell(""), Cell("", "a"), Cell("")]]
    assert numeric_columns(Table("", [Column("")] * 3, rows)) == [True, False, False]


def test_neighbours_of_a_group_stand_under_one_heading():
    columns = [Column("s"), Column("t"), Column("a", "g"), Column("b", "g"), Column("c", "h"), Column("d", "g")]
    assert column_groups(columns) == [("", 0, 1), ("", 1, 1), ("g", 2, 2), ("h", 4, 1), ("g", 5, 1)]


def test_columns_of_an_oracle_are_set_apart(tmp_path):
    table = Table("T", [Column("s"), Column("a", "Oracle τ")], [[Cell("x", "x"), Cell("1", 1)]])
    html = html_of(Page("t", "m", sections=[Section("s", "S", tables=[table])]), tmp_path)
    assert '<th scope="colgroup" colspan="1" class="group oracle">Oracle τ</th>' in html
    assert '<td data-value="1.0" class="number oracle">' in html


@pytest.mark.parametrize(("text", "printed"), [("0.03", "p = 0.03"), ("< 0.001", "p < 0.001"), ("p = 1", "p = 1")])
def test_p_values(text, printed):
    assert p_value(text) == printed


def test_answers_of_one_claim_stand_together(tmp_path):
    part = Answer("one", "", "", "s", "supported", "", "", "", "", "")
    page = Page("t", "m", answers=[part, replace(part, claim="two"), replace(part, verdict="reversed")])
    html = html_of(page, tmp_path)
    assert html.count('<article class="claim">') == 2
    assert html.index("answer reversed") < html.index("<h3>two")


def test_a_verdict_is_a_word_beside_its_colour(tmp_path):
    text = "".join(written(sample_page(), tmp_path).text)
    for word in ("supported", "reversed", "inconclusive", "not testable"):
        assert re.search(rf"1 {word}", text)


def test_a_verdict_on_one_training_says_so_wherever_it_is_counted_or_shown(tmp_path):
    several = Answer("one", "", "", "s", "supported", "", "", "", "", "")
    single = replace(several, few="one training")
    answers = [single, replace(single, verdict="reversed"), several, replace(several, claim="two"), single]
    html = html_of(Page("t", "m", answers=answers), tmp_path)
    badges = re.findall(r'class="badge ([a-z-]+)">.*?</span>(.*?)</span>', html)
    assert badges[:3] == [
        ("supported", "2 supported"),
        ("supported", "2 supported, one training"),
        ("reversed", "1 reversed, one training"),
    ]
    assert sorted(badges[3:]) == [
        ("reversed", "reversed, one training"),
        ("supported", "supported"),
        ("supported", "supported"),
        ("supported", "supported, one training"),
        ("supported", "supported, one training"),
    ]


@pytest.mark.parametrize(
    ("svg", "width"),
    [
        (SVG.format(""), 907),  # 504 pt are 672 CSS pixels, shown 1.35 times as large
        ('<svg width="100px" stroke-width="9">', 135),
        ('<svg stroke-width="9" height="5"><rect width="4"/></svg>', None),
        ('<svg width="100%"></svg>', None),
        ("", None),
    ],
)
def test_drawings_are_shown_larger_than_on_paper(svg, width):
    assert drawing_width(svg) == width


def test_filters_are_in_a_reader_s_order():
    choices = gallery_choices(gallery(6, 2))
    assert choices["order"] == [("as stored", 6), ("last first", 6), ("every third", 2)]
    assert choices["size"] == [("small", 2), ("medium", 2), ("large", 2)]
    assert choices["class"][-1] == ("Sooty Albatross", 1)
    # Errors n and n + 1 of image n: every type on two images.
    assert choices["error"][0] == ("no box", 2)


def test_a_gallery_without_orders_shows_its_images_as_stored():
    assert gallery_choices(Gallery(["a"], [shown(0, 1)], {}))["order"] == [("as stored", 1)]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (shown(0, 1), "needs a view for each of 2 settings, got 1"),
        (replace(shown(0, 2), aspect=0.0), "aspect 0.0"),
        (replace(shown(0, 2), true_boxes=[(0, 0, 1, float("nan"))]), "a box with NaN or infinity"),
        (replace(shown(0, 2), photo="https://example.org/a.jpg"), "no data URI"),
    ],
)
def test_an_image_that_cannot_be_shown_is_refused(image, said, tmp_path):
    with pytest.raises(ValueError, match=re.escape(said)):
        write_page(gallery_page(Gallery(["a", "b"], [image], {})), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", [[0, 0], [2], [-1]])
def test_an_order_of_other_images_is_refused(order, tmp_path):
    page = gallery_page(replace(gallery(2, 1), orders={"mine": order}))
    with pytest.raises(ValueError, match=r"order 'mine' must name each of 2 images at most once"):
        write_page(page, tmp_path / "report.html")


def test_a_row_of_too_few_cells_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'Scores' has 2 columns, got a row of 1"):
        write_page(table_page([Cell("a")]), tmp_path / "report.html")


def test_an_unknown_verdict_is_refused(tmp_path):
    answer = Answer("c", "", "", "", "maybe", "", "", "", "", "")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got 'maybe'"):
        write_page(Page("t", "m", answers=[answer]), tmp_path / "report.html")


def test_two_runs_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Two runs are called 'a'"):
        write_page(Page("t", "m", runs=[RunCard("a"), RunCard("a")]), tmp_path / "report.html")


def test_the_same_page_is_the_same_file(tmp_path):
    assert html_of(sample_page(), tmp_path) == html_of(sample_page(), tmp_path)


def test_a_drawing_is_an_image_in_which_nothing_runs(tmp_path):
    section = Section("s", "S", drawings=[Drawing('A "title"', f"<svg>{SCRIPT}</svg>")])
    seen = written(Page("t", "m", sections=[section]), tmp_path)
    assert seen.tags["svg"] == 0
    assert sum(part.startswith("data:image/svg+xml;base64,") for part in seen.addresses) == 1
