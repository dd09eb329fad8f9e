"""Runs that learned nothing: diverged, or collapsed to chance. They are shown as such, and left out of means."""

from scipy.stats import beta

DIVERGED, COLLAPSED = "diverged", "collapsed"
_ALPHA = 0.05


def is_collapsed(right: int, images: int, num_classes: int) -> bool:
    """Is it shown that a classifier does little better than chance?

    Chance is 1 / K. It must be ruled out, by the exact one-sided 95 % bound of Clopper and Pearson (Biometrika 1934),
    that the accuracy is twice as high, or a tenth of the way from chance to perfect, whichever is less. So a network
    that is merely weak, or tested on few images, is not called collapsed.

    Args:
        right: images of `val` whose first class is the true one.
        images: all of them.
        num_classes: K.
    """
    chance = 1 / num_classes
    bound = 1.0 if right >= images else float(beta.ppf(1 - _ALPHA, right + 1, images - right))
    return bound < min(2 * chance, chance + 0.1 * (1 - chance))
