import math

import numpy as np
import pytest

from wsol.report.score_table import decimals_of, percent


class TestDecimals:
    @pytest.mark.parametrize(
        ("uncertainty", "decimals"),
        [
            (0.100, 2),  # 0.10
            (0.354, 2),  # 0.35: the last that keeps two digits
            (0.355, 1),  # 0.4: the first that keeps one
            (0.949, 1),  # 0.9: the last that keeps one
            (0.950, 1),  # 1.0: becomes 1000, and keeps two
            (0.999, 1),  # 1.0
            (0.9996, 1),  # 1.0: its first three digits are 1000 already
            (1.00, 1),
            (3.54, 1),
            (3.55, 0),
            (9.49, 0),
            (9.50, 0),  # 10
            (0.0354, 3),
            (0.0355, 2),  # 0.04
            (0.0949, 2),
            (0.0950, 2),  # 0.10
        ],
    )
    def test_on_paper(self, uncertainty, decimals):
        assert decimals_of(uncertainty) == decimals

    @pytest.mark.parametrize(("uncertainty", "printed"), [(0.119, "0.83 ± 0.12"), (0.367, "0.8 ± 0.4")])
    def test_the_examples_of_its_source(self, uncertainty, printed):
        places = decimals_of(uncertainty)
        assert f"{0.827:.{places}f} ± {uncertainty:.{places}f}" == printed

    @pytest.mark.parametrize("uncertainty", [0.0, -0.0, -1.0, math.nan, math.inf, -math.inf])
    def test_one_where_it_is_no_uncertainty(self, uncertainty):
        assert decimals_of(uncertainty) == 1

    @pytest.mark.parametrize("uncertainty", [10, 35.4, 35.5, 94.9, 95, 1234, 1e12, 1e300, 1.7e308])
    def test_none_where_it_is_large(self, uncertainty):
        assert decimals_of(uncertainty) == 0

    @pytest.mark.parametrize("uncertainty", [0.00949, 0.00354, 0.001, 0.00095, 1e-9, 1e-300])
    def test_at_most_three_where_it_is_small(self, uncertainty):
        assert decimals_of(uncertainty) == 3

    @pytest.mark.parametrize("exponent", [-2, -1, 0, 1])
    def test_a_power_of_ten_moves_the_point_alone(self, exponent):
        for leading, digits in ((100, 2), (354, 2), (355, 1), (949, 1)):
            expected = min(max(digits - 1 - exponent, 0), 3)
            assert decimals_of(float(f"{leading}e{exponent - 2}")) == expected


class TestPercent:
    @pytest.mark.parametrize(
        ("value", "half_width", "text"),
        [
            (0.615, 0.027, "61.5 ± 2.7"),
            (0.69, 0.12, "69 ± 12"),
            (0.6149, 0.04, "61 ± 4"),
            (0.61494, 0.0016, "61.49 ± 0.16"),
            (0.5, 0.0099, "50.0 ± 1.0"),
            (1.0, 0.0, "100.0 ± 0.0"),
            (0.615, 1e-9, "61.500 ± 0.000"),
            (0.3, 2.5, "30 ± 250"),
        ],
    )
    def test_on_paper(self, value, half_width, text):
        assert percent(value, half_width) == text

    @pytest.mark.parametrize("half_width", [None, math.nan])
    def test_one_decimal_without_an_interval(self, half_width):
        assert percent(0.61549, half_width) == "61.5"

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_the_ends(self, value):
        assert percent(value) == f"{100 * value:.1f}"

    @pytest.mark.parametrize(
        ("value", "half_width", "text"),
        [
            (0.012, None, "+1.2"),
            (-0.012, None, "−1.2"),
            (0.0, None, "+0.0"),
            (0.032, 0.022, "+3.2 ± 2.2"),
            (-0.032, 0.12, "−3 ± 12"),
        ],
    )
    def test_a_sign_where_it_is_asked_for(self, value, half_width, text):
        assert percent(value, half_width, sign=True) == text

    def test_minus_is_a_minus_sign_and_no_hyphen(self):
        assert percent(-0.25) == "−25.0"
        assert "-" not in percent(-0.25, 0.01)

    @pytest.mark.parametrize("sign", [False, True])
    @pytest.mark.parametrize("half_width", [None, 0.1, math.nan])
    def test_no_number_is_a_dash(self, half_width, sign):
        assert percent(math.nan, half_width, sign) == "–"

    def test_numbers_of_numpy(self):
        assert percent(np.float64(0.615), np.float64(0.027)) == "61.5 ± 2.7"
