"""The report's page in Chromium: what is clicked, filtered, scrolled and typed."""

import shutil
import time
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from page_samples import (
    ENDS_SCRIPT,
    ERRORS,
    PICTURE,
    SCRIPT,
    SIZES,
    flat_map,
    gallery,
    sample_page,
    shown,
)
from wsol.report.content import Cell, Column, Gallery, Page, RunCard, Section, Table, View
from wsol.report.html import write_page

playwright_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not here")]

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
HEIGHT = 800  # of the window
NEAR = 600  # as gallery.js: pictures are made so many pixels before they are seen
CLIPPED = """
(selector) => [...document.querySelectorAll(selector)]
  .filter((one) => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline')
  .map((one) => `${one.className}: ${one.textContent.slice(0, 60)}`)
"""


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def troubles():
    """What must not happen: requests of a network, errors, dialogs."""
    return []


@pytest.fixture
def show(browser, tmp_path, troubles):
    """Opens a page; in the end there was no trouble."""
    context = browser.new_context()

    def ask(route):
        if not route.request.url.startswith(("file:", "data:")):
            troubles.append(f"request: {route.request.url}")
            route.abort()
        else:
            route.continue_()

    def dismiss(dialog):
        troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def opened(report, width=1280, fragment="", scheme="light"):
        path = tmp_path / "report.html"
        write_page(report, path)
        tab = context.new_page()
        tab.set_viewport_size({"width": width, "height": HEIGHT})
        tab.emulate_media(color_scheme=scheme)
        tab.on("console", lambda message: troubles.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        tab.on("dialog", dismiss)
        tab.goto(path.as_uri() + fragment)
        return tab

    context.route("**/*", ask)
    yield opened
    context.close()
    assert troubles == []


def table_of(*values, texts=None):
    texts = texts or [str(value) for value in values]
    rows = [
        [Cell(f"row {n}", f"row {n}"), Cell(text, value)]
        for n, (text, value) in enumerate(zip(texts, values, strict=True))
    ]
    return Page("t", "m", sections=[Section("s", "S", tables=[Table("T", [Column("row"), Column("n")], rows)])])


def column(tab, place):
    return tab.locator("table.data").first.locator(f"tbody tr > :nth-child({place + 1})").all_inner_texts()


def heading(tab, place):
    return tab.locator(f"table.data >> nth=0 >> th[data-column='{place}']")


def click(tab, place):
    """Sort by a column; returns (what aria-sort says, the rows' second cells)."""
    heading(tab, place).locator("button").click()
    return heading(tab, place).get_attribute("aria-sort"), column(tab, 1)


def choose(tab, **choices):
    for name, label in choices.items():
        options = tab.locator(f"select[name={name}] option")
        texts = options.all_inner_texts()
        (place,) = [n for n, text in enumerate(texts) if text == label or text.startswith(f"{label} (")]
        tab.select_option(f"select[name={name}]", index=place)
    return tab.inner_text(".count"), tab.locator(".card .name").all_text_contents()


def drawn(tab):
    """Names of the images whose pictures exist."""
    return tab.locator(".card:has(.frame) .name").all_text_contents()


def wait_until(tab, condition, arg=None):
    """Wait until a function of the page says yes. The page forbids eval, which Playwright's own wait polls with."""
    end = time.monotonic() + 10
    while not tab.evaluate(condition, arg):
        assert time.monotonic() < end, f"never came true: {condition}"
        tab.wait_for_timeout(20)


def at_rest(tab):
    """Wait until every card is drawn or not as its place wants it."""
    wait_until(
        tab,
        """([near, height]) => [...document.querySelectorAll('.card')].every((card) => {
          const { top, bottom } = card.getBoundingClientRect();
          return card.classList.contains('far') === (bottom < -near || top > height + near);
        })""",
        arg=[NEAR, HEIGHT],
    )


# Tables


def test_numbers_sort_both_ways_with_missing_last(show):
    tab = show(table_of(9.0, None, 10.0, -1.5, float("nan"), 2.0, texts=["9", "–", "10", "−1.5", "nan", "2"]))
    assert click(tab, 1) == ("descending", ["10", "9", "2", "−1.5", "–", "nan"])
    assert click(tab, 1) == ("ascending", ["−1.5", "2", "9", "10", "–", "nan"])
    assert click(tab, 1) == (None, ["9", "–", "10", "−1.5", "nan", "2"])


def test_words_sort_both_ways_with_missing_last(show):
    tab = show(table_of("b", None, "a10", "a9", texts=["b", "–", "a10", "a9"]))
    assert click(tab, 1) == ("ascending", ["a9", "a10", "b", "–"])
    assert click(tab, 1) == ("descending", ["b", "a10", "a9", "–"])


def test_infinities_and_equals_keep_their_places(show):
    inf = float("inf")
    tab = show(table_of(1.0, inf, -inf, 1.0, inf, texts=["first 1", "first ∞", "−∞", "second 1", "second ∞"]))
    assert click(tab, 1)[1] == ["first ∞", "second ∞", "first 1", "second 1", "−∞"]
    assert click(tab, 1)[1] == ["−∞", "first 1", "second 1", "first ∞", "second ∞"]


def test_numbers_stand_before_words_in_a_mixed_column(show):
    tab = show(table_of("same", 2.0, "", 1.0, texts=["same", "2", "empty", "1"]))
    assert click(tab, 1) == ("ascending", ["1", "2", "empty", "same"])


def test_only_the_column_that_was_sorted_by_last_says_so(show):
    tab = show(sample_page(images=1))
    click(tab, 1)
    click(tab, 4)  # of the oracle, in the second row of headings
    assert heading(tab, 1).get_attribute("aria-sort") is None
    assert heading(tab, 4).get_attribute("aria-sort") == "descending"
    assert column(tab, 4)[:2] == ["70.1", "66.0"]


def test_headings_are_buttons_that_the_keyboard_presses(show):
    tab = show(table_of(1.0, 2.0))
    button = heading(tab, 1).locator("button")
    button.focus()
    tab.keyboard.press("Enter")
    assert column(tab, 1) == ["2.0", "1.0"]
    tab.keyboard.press("Space")
    assert column(tab, 1) == ["1.0", "2.0"]


# Runs


def test_a_number_of_one_run_opens_it(show):
    tab = show(sample_page(images=1))
    card = tab.locator("#run-cub-resnet50-gap-s0-1c9f02ab")
    assert card.get_attribute("open") is None
    tab.get_by_role("link", name="68.9").press("Enter")
    assert card.get_attribute("open") is not None
    playwright_api.expect(card).to_be_in_viewport()


def test_a_number_of_several_runs_lists_them_and_the_keyboard_reaches_them(show):
    tab = show(sample_page(images=1))
    tab.get_by_role("button", name="65.3").press("Enter")
    opened = tab.locator("[popover]:popover-open")
    assert opened.locator("a").all_inner_texts() == ["cub-resnet50-gap-s0-1c9f02ab", "cub-resnet50-gap-s1-77aa01ff"]
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert tab.locator("#run-cub-resnet50-gap-s1-77aa01ff").get_attribute("open") is not None
    playwright_api.expect(opened).to_have_count(0)


def test_escape_closes_a_list_and_gives_the_focus_back(show):
    tab = show(sample_page(images=1))
    tab.get_by_role("button", name="65.3").press("Enter")
    tab.keyboard.press("Escape")
    playwright_api.expect(tab.locator("[popover]:popover-open")).to_have_count(0)
    playwright_api.expect(tab.get_by_role("button", name="65.3")).to_be_focused()


@pytest.mark.parametrize("width", [1280, 400])
def test_a_list_lies_inside_the_window_by_its_number(show, width):
    tab = show(sample_page(images=1), width=width)
    for number in ("93.8 ± 0.6", "70.1"):
        button = tab.get_by_role("button", name=number)
        button.click()
        box = tab.locator("[popover]:popover-open").bounding_box()
        at = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] == pytest.approx(at["y"] + at["height"] + 4, abs=1)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.keyboard.press("Escape")


def test_an_address_with_a_run_opens_it(show):
    tab = show(sample_page(images=1), fragment="#run-script-alert-1-script")
    card = tab.locator("#run-script-alert-1-script")
    assert card.get_attribute("open") is not None
    playwright_api.expect(card).to_be_in_viewport()


def test_a_missing_cell_shows_a_command_to_copy(show):
    tab = show(sample_page(images=1))
    tab.get_by_role("button", name="missing").first.click()
    opened = tab.locator("[popover]:popover-open")
    assert opened.locator("code").inner_text().startswith("python benchmarks/run.py")
    opened.get_by_role("button", name="Copy").click()
    assert tab.evaluate("getSelection().toString()") == opened.locator("code").inner_text()


@pytest.mark.parametrize("images", [0, 3])
def test_every_link_has_a_target(show, images):
    tab = show(sample_page(images=images))
    lost = tab.evaluate("""() => [...document.querySelectorAll('a[href], [popovertarget]')]
      .map((one) => one.getAttribute('popovertarget') ?? one.getAttribute('href').slice(1))
      .filter((id) => !document.getElementById(id))""")
    assert lost == []


# Names


def test_hostile_names_are_text(show):
    tab = show(sample_page(images=5))
    at_rest(tab)
    tab.locator(".cards").scroll_into_view_if_needed()
    at_rest(tab)
    assert tab.locator(".card .class").all_text_contents()[2:4] == [SCRIPT, PICTURE]
    assert tab.locator(".card .name").first.text_content() == ENDS_SCRIPT
    assert tab.evaluate("document.querySelectorAll('script').length") == 3
    assert tab.evaluate("document.querySelectorAll('[onerror], img[src=x]').length") == 0
    options = tab.locator("select[name=class] option").all_text_contents()
    assert f"{SCRIPT} (1)" in options
    choose(tab, **{"class": SCRIPT})
    assert tab.locator(".card .class").all_text_contents() == [SCRIPT]


def test_markup_that_slipped_through_would_not_run(show, troubles):
    tab = show(sample_page(images=1))
    with tab.expect_console_message(lambda message: "Content Security Policy" in message.text):
        tab.evaluate("""() => {
          const holder = document.createElement('div');
          holder.innerHTML = '<b onclick="document.title = 1">x</b>';
          document.body.append(holder);
          holder.firstChild.click();
        }""")
    assert tab.title() == f"Report & {SCRIPT}"
    troubles.clear()  # the browser's complaint is what was asked for


# Gallery


def test_orders_of_the_gallery(show):
    tab = show(sample_page(images=7, settings=2))
    stored = [ENDS_SCRIPT, *(f"{n:05d}.jpg" for n in range(1, 7))]
    assert tab.locator(".card .name").all_text_contents() == stored
    assert choose(tab, order="last first") == ("Showing 7 of 7 images.", stored[::-1])
    assert choose(tab, order="every third") == ("Showing 3 of 7 images.", [stored[0], stored[3], stored[6]])


def test_filters_of_the_gallery_combine(show):
    tab = show(sample_page(images=30, settings=2))
    some = [ENDS_SCRIPT, *(f"{n:05d}.jpg" for n in range(5, 30, 5))]
    assert choose(tab, **{"class": "Auklet"}) == ("Showing 6 of 30 images.", some)
    assert choose(tab, size="large")[1] == ["00005.jpg", "00020.jpg"]
    # Image 5 has the errors "no box" and "right", image 20 "too large" and "wrong place".
    assert choose(tab, error="right") == ("Showing 1 of 30 images.", ["00005.jpg"])
    assert choose(tab, error="too small") == ("No image matches. There are 30 in all.", [])
    assert choose(tab, error="all")[1] == ["00005.jpg", "00020.jpg"]
    assert choose(tab, **{"class": "all classes"}, size="all sizes")[0] == "Showing 30 of 30 images."


@pytest.mark.parametrize("place", range(6))
def test_an_error_of_any_setting_counts(show, place):
    tab = show(sample_page(images=6, settings=2))  # image n has the errors n and n + 1
    expected = [f"{n:05d}.jpg" if n else ENDS_SCRIPT for n in sorted({place, (place - 1) % 6})]
    assert choose(tab, error=ERRORS[place]) == ("Showing 2 of 6 images.", expected)


def test_a_filter_keeps_the_order(show):
    tab = show(sample_page(images=9, settings=1))
    choose(tab, order="last first")
    assert choose(tab, size=SIZES[0])[1] == ["00006.jpg", "00003.jpg", ENDS_SCRIPT]


def test_an_empty_gallery_says_so(show):
    assert show(sample_page(images=0)).inner_text(".count") == "No image matches. There are 0 in all."


def test_only_pictures_near_the_window_exist(show):
    tab = show(sample_page(images=1000, settings=4))
    at_rest(tab)
    tab.locator(".count").evaluate("(one) => one.scrollIntoView()")
    at_rest(tab)
    first = drawn(tab)
    assert first[:2] == [ENDS_SCRIPT, "00001.jpg"]
    assert len(first) < 12
    assert tab.locator(".cards img").count() == 5 * len(first)
    assert tab.locator(".cards canvas").count() == 4 * len(first)
    tab.mouse.move(600, 400)
    tab.mouse.wheel(0, 2000)
    wait_until(tab, "(name) => document.querySelector('.card:has(.frame) .name').textContent !== name", first[0])
    at_rest(tab)
    second = drawn(tab)
    assert set(second) - set(first)
    assert not {ENDS_SCRIPT, "00001.jpg"} & set(second)
    assert len(second) < 12
    tab.evaluate("document.querySelectorAll('.card')[700].scrollIntoView()")
    at_rest(tab)
    assert "00700.jpg" in drawn(tab)
    assert len(drawn(tab)) < 12


def test_scrolling_back_finds_cards_where_they_were(show):
    tab = show(sample_page(images=200, settings=2))
    tab.locator(".count").evaluate("(one) => one.scrollIntoView()")
    at_rest(tab)
    heights = "[...document.querySelectorAll('.card')].slice(0, 3).map((card) => card.offsetHeight)"
    before = tab.evaluate(heights)
    tab.evaluate("window.scrollBy(0, 6000)")
    at_rest(tab)
    assert ENDS_SCRIPT not in drawn(tab)
    assert tab.evaluate(heights) == before


def flat_gallery(level, photo=""):
    view = View((0.0, 0.0, 1.0, 0.5), 0.5, True, "right", flat_map(level))
    return Gallery(["cam"], [replace(shown(0, 1), aspect=2.0, photo=photo, views=[view])], {})


@pytest.mark.parametrize("level", [0, 97, 180, 255])
def test_score_maps_are_coloured_with_inferno(show, level):
    tab = show(Page("t", "m", sections=[Section("s", "S", gallery=flat_gallery(level))]))
    wait_until(tab, "() => document.querySelector('canvas')?.width === 224")
    assert tab.evaluate("document.querySelector('canvas').height") == 112
    pixel = tab.evaluate("[...document.querySelector('canvas').getContext('2d').getImageData(99, 50, 1, 1).data]")
    expected = 255 * np.array(matplotlib.colormaps["inferno"](level))
    np.testing.assert_allclose(pixel, expected, atol=6)


def test_boxes_lie_where_they_are(show):
    tab = show(Page("t", "m", sections=[Section("s", "S", gallery=flat_gallery(255))]))
    frame = tab.locator(".frame").nth(1).bounding_box()
    assert frame["width"] == pytest.approx(2 * frame["height"], abs=1)
    sides = "(one) => { const { x, y, width, height } = one.getBoundingClientRect(); return [x, y, width, height]; }"
    box = tab.locator(".frame rect.predicted").evaluate(sides)
    assert box == pytest.approx([frame["x"], frame["y"], frame["width"], frame["height"] / 2], abs=3)  # a line's width
    assert tab.locator(".frame rect.predicted").evaluate("(one) => getComputedStyle(one).stroke") == "rgb(213, 94, 0)"
    true = tab.locator(".frame rect.true").first.evaluate(
        "(one) => [getComputedStyle(one)].map((s) => [s.stroke, s.strokeDasharray])[0]"
    )
    assert true == ["rgb(0, 158, 115)", "6px, 4px"]


def test_captions_say_what_a_setting_made_of_the_image(show):
    tab = show(sample_page(images=2, settings=4))
    tab.locator(".cards").evaluate("(one) => one.scrollIntoView()")
    at_rest(tab)
    captions = tab.locator(".card").nth(1).locator("figcaption")
    assert captions.nth(2).locator("span").all_text_contents() == ["gmp · cam", "IoU 0.51", "class right", "too large"]
    assert captions.nth(4).locator("span").all_text_contents() == ["gmp · grad_cam", "IoU 0.53", "wrong class"]


def test_an_unreadable_map_is_reported(show):
    image = shown(0, 1)
    broken = replace(image, views=[replace(image.views[0], score_map="data:image/png;base64,AAAA")])
    tab = show(Page("t", "m", sections=[Section("s", "S", gallery=Gallery(["cam"], [broken], {}))]))
    playwright_api.expect(tab.get_by_text("unreadable map")).to_be_visible()


# Room


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize(("settings", "with_photo"), [(1, True), (4, True), (8, False)])
def test_nothing_is_clipped_or_wider_than_the_window(show, width, settings, with_photo, scheme):
    tab = show(sample_page(images=6, settings=settings, with_photo=with_photo), width=width, scheme=scheme)
    tab.locator(".cards").evaluate("(one) => one.scrollIntoView()")
    at_rest(tab)
    tab.locator("details").evaluate_all("(all) => all.forEach((one) => { one.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    text = "h1, h2, h3, h4, p, li, dd, dt, summary, figcaption, label, .answer, .answer div, .card, .panel"
    assert tab.evaluate(CLIPPED, text) == []
    assert tab.evaluate(CLIPPED, ".data th, .data td, .data th > *, .data td > *, .data button") == []


def test_a_wide_table_scrolls_inside_its_own_frame(show):
    tab = show(sample_page(images=1), width=400)
    frame = tab.locator(".scroll").nth(1)
    assert frame.evaluate("(one) => one.scrollWidth > one.clientWidth")
    frame.evaluate("(one) => one.scrollTo(500, 300)")
    top, left = frame.evaluate("(one) => { const { top, left } = one.getBoundingClientRect(); return [top, left]; }")
    first = frame.locator("tbody th").nth(20).bounding_box()
    assert first["x"] == pytest.approx(left, abs=2)  # names stay at the left
    assert frame.locator("thead th").nth(3).bounding_box()["y"] == pytest.approx(top, abs=2)  # headings stay above


def test_pages_of_little_open(show):
    show(Page("Nothing", "by hand"))
    show(Page("One run", "by hand", runs=[RunCard("one")]))
    show(Page("Bare", "", sections=[Section("s", "S", tables=[Table("T", [], [])], gallery=gallery(1, 0))]))
