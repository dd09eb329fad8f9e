import pytest

from wsol.data.class_names import choose_classes

NAMES = ("n01 tench, Tinca tinca", "n02 goldfish", "n03 great white shark, white shark", "n04 cock")


@pytest.mark.parametrize(
    ("classes", "chosen"),
    [
        (None, [0, 1, 2, 3]),
        (2, [0, 1]),
        (["n04", "n02"], [1, 3]),
        (["white shark", "tench"], [0, 2]),
        (["3", 0], [0, 3]),
    ],
)
def test_classes_are_chosen_by_count_name_or_wnid(classes, chosen):
    assert choose_classes(NAMES, classes) == chosen


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (0, r"classes must be 1 ... 4, as many as there are, got 0"),
        (5, r"got 5"),
        ([], r"classes=\[\] leaves none"),
        ("n01", r"write classes=\[n01\]"),
        (["n01", "tench"], r"'n01 tench, Tinca tinca' twice"),
        (["n05"], r"classes: no class is called 'n05'.* There are 4: 'n01 tench, Tinca tinca', 'n02 goldfish', "),
    ],
)
def test_what_cannot_be_chosen_is_said(classes, message):
    with pytest.raises(ValueError, match=message):
        choose_classes(NAMES, classes)
