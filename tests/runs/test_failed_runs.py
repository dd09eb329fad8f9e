import pytest
from scipy.stats import binom

from wsol.runs.fit import is_collapsed


@pytest.mark.parametrize(
    ("right", "images", "classes", "collapsed"),
    [
        (50, 500, 10, True),  # at chance, on many images
        (450, 500, 10, False),
        (80, 500, 10, True),  # 16 %, and at most 19 % by the bound
        (100, 500, 10, False),  # twice chance
        (4, 40, 10, False),  # at chance, but so few images cannot show it
        (0, 40, 10, True),
        (0, 3, 10, False),
        (250, 500, 2, True),
        (300, 500, 2, False),
        (25, 5000, 200, True),
        (80, 1000, 200, False),  # 8 % of 200 classes is sixteen times chance
        (5, 5, 2, False),
    ],
)
def test_on_paper(right, images, classes, collapsed):
    assert is_collapsed(right, images, classes) == collapsed


@pytest.mark.parametrize(("images", "classes"), [(60, 10), (500, 10), (500, 2), (1000, 100)])
def test_a_network_at_the_bound_is_called_collapsed_in_at_most_one_of_twenty_cases(images, classes):
    chance = 1 / classes
    bound = min(2 * chance, chance + 0.1 * (1 - chance))
    wrongly = sum(
        binom.pmf(right, images, bound) for right in range(images + 1) if is_collapsed(right, images, classes)
    )
    assert wrongly <= 0.05 + 1e-9
