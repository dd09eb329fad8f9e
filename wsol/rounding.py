"""How many digits a number deserves."""

import math


def decimals_of(uncertainty: float) -> int:
    """Decimals to print of a number with this uncertainty: that it keeps one or two digits itself.

    Source: Particle Data Group, "Review of Particle Physics", 2024, section 5.3 of the introduction: of its first three
    digits, 100 to 354 keep two, 355 to 949 one, and 950 to 999 become 1000 and keep two.

    Args:
        uncertainty: in the unit that is printed; 0, NaN or infinite: one decimal.

    Returns:
        0 to 3.
    """
    if not 0 < uncertainty < math.inf:
        return 1
    if uncertainty < 1e-3:
        return 3
    magnitude = math.floor(math.log10(uncertainty))
    leading = round(uncertainty / 10.0 ** (magnitude - 2))
    digits = 1 if 355 <= leading <= 949 else 2
    if leading >= 950:
        magnitude += 1
    return min(max(digits - 1 - magnitude, 0), 3)


def percent(value: float, half_width: float | None = None, sign: bool = False) -> str:
    """A fraction as percent, with its uncertainty and as many digits as that allows: `61.5 ± 2.7`, `69 ± 12`.

    Args:
        value: a fraction; NaN becomes a dash.
        half_width: of its interval; None or NaN: not known, so one decimal is printed and no ±.
        sign: print a plus too.
    """
    if math.isnan(value):
        return "–"
    if half_width is None or math.isnan(half_width):
        text = f"{100 * value:{'+' if sign else ''}.1f}"
    else:
        places = decimals_of(100 * half_width)
        text = f"{100 * value:{'+' if sign else ''}.{places}f} ± {100 * half_width:.{places}f}"
    return text.replace("-", "−")
