"""Make score maps from activation maps on the network's grid: torch ends and numpy begins here."""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from wsol.geometry import Size
from wsol.scoring.protocol import TIGHT, Protocol


def to_score_maps(
    activation_maps: Tensor | NDArray[np.floating],
    size: Size,
    protocol: Protocol = TIGHT,
    image_ids: Sequence[str] | None = None,
) -> NDArray[np.float64]:
    """Rectify, upsample to the protocol's grid and normalize, as the protocol defines.

    Upsampling comes before normalization, the order of Choe et al., CVPR 2020, unless the protocol turns it round.

    Args:
        activation_maps: (N, h, w), any range.
        size: (H, W) of the images; the score maps' too, if the protocol has no grid of its own.
        protocol: its rectify, grid, interpolation, normalization, percentile and order are read.
        image_ids: N names for the error message.

    Returns:
        (N, H, W) float64 in [0, 1]. With min-max from exactly 0 to exactly 1, if normalized last; a constant map
        becomes zeros.

    Raises:
        ValueError: for a map with NaN or infinity, naming its image; nothing is repaired.
    """
    maps = activation_maps.detach().cpu().numpy() if isinstance(activation_maps, Tensor) else activation_maps
    score_maps = np.empty((len(maps), *(protocol.grid or size)))
    for n, (activation_map, score_map) in enumerate(zip(maps, score_maps, strict=True)):
        fill_score_map(activation_map, score_map, protocol, f"map {n}" if image_ids is None else repr(image_ids[n]))
    return score_maps


def fill_score_map(
    activation_map: NDArray[np.floating], score_map: NDArray[np.float64], protocol: Protocol, name: str
) -> None:
    """Write the (H, W) score map of one (h, w) activation map in place, without the GIL.

    Raises:
        ValueError: for NaN or infinity, with this name; nothing is repaired.
    """
    values = np.ascontiguousarray(activation_map, dtype=np.float64)
    if protocol.rectify == "relu":
        if not np.isfinite(values).all():  # checked before the cut, which would hide −inf
            raise _not_finite(name)
        values = np.maximum(values, 0.0)
    if protocol.order == "resize_first":
        _fill(values, score_map, protocol, name)
        return
    on_own_grid = np.empty(values.shape)
    _fill(values, on_own_grid, protocol, name)
    _resize(on_own_grid, score_map, protocol.interpolation == "bicubic")
    np.clip(score_map, 0.0, 1.0, out=score_map)


def _not_finite(name: str) -> ValueError:
    return ValueError(f"The activation map of {name} holds NaN or infinity.")


def _fill(values: NDArray[np.float64], score_map: NDArray[np.float64], protocol: Protocol, name: str) -> None:
    """Resize to the score map's size, then normalize."""
    bicubic = protocol.interpolation == "bicubic"
    if protocol.percentile is None:
        if not _resize_and_normalize(values, score_map, bicubic, protocol.normalization == "max"):
            raise _not_finite(name)
        return
    if not np.isfinite(values).all():
        raise _not_finite(name)
    _resize(values, score_map, bicubic)
    # numpy's percentile itself, for equality to the last bit; compiled, it would cost every first use seconds.
    percentile = np.percentile(score_map, protocol.percentile)
    if protocol.normalization == "percentile":
        lowest, highest = score_map.min(), percentile
    else:
        lowest, highest = percentile, score_map.max()
    span = highest - lowest
    # Interpolating a constant map leaves rounding noise, which would be blown up to a full-range map.
    if span <= 0 or values.min() == values.max():
        score_map[:] = 0
        return
    score_map -= lowest
    np.clip(score_map, 0.0, span, out=score_map)  # before the division, which might overflow
    score_map /= span


@njit(cache=True, nogil=True)
def _resize_and_normalize(values, score_map, bicubic, by_maximum):
    """Fill the score map; return False for a map with NaN or infinity."""
    # Interpolating a constant map leaves rounding noise, which min-max would blow up to a full-range map.
    constant = True
    for value in values.flat:
        if not np.isfinite(value):
            return False
        constant &= value == values[0, 0]
    if constant and not by_maximum:
        score_map[:] = 0
        return True
    lowest, highest = _resize(values, score_map, bicubic)
    if by_maximum:
        lowest = 0.0
    span = highest - lowest
    if span <= 0:
        score_map[:] = 0
        return True
    for y in range(score_map.shape[0]):
        for x in range(np.uint64(score_map.shape[1])):
            score_map[y, x] = max((score_map[y, x] - lowest) / span, 0.0)
    return True


@njit(cache=True, nogil=True)
def _resize(values, resized, bicubic):
    """Fill `resized`, rows first; return its lowest and highest value.

    Bicubic is bit for bit OpenCV's (a = -0.75, weights in float32, borders repeated), on which the field's evaluation
    rests. Bilinear has weights in float64.
    """
    (height, width), (out_height, out_width) = values.shape, resized.shape
    if values.shape == resized.shape:
        for y in range(height):  # as a loop: compiling a check of shapes would take seconds
            for x in range(width):
                resized[y, x] = values[y, x]
        return values.min(), values.max()
    left, across = _weights(width, out_width, bicubic)
    above, down = _weights(height, out_height, bicubic)
    wide = np.empty((height, out_width))
    for y in range(height):
        for x in range(out_width):
            wide[y, x] = (
                values[y, left[0, x]] * across[0, x]
                + values[y, left[1, x]] * across[1, x]
                + values[y, left[2, x]] * across[2, x]
                + values[y, left[3, x]] * across[3, x]
            )
    low, high = np.full(out_width, np.inf), np.full(out_width, -np.inf)
    for y in range(out_height):
        a, b, c, d = above[0, y], above[1, y], above[2, y], above[3, y]
        of_a, of_b, of_c, of_d = down[0, y], down[1, y], down[2, y], down[3, y]
        for x in range(np.uint64(out_width)):
            value = wide[a, x] * of_a + wide[b, x] * of_b + wide[c, x] * of_c + wide[d, x] * of_d
            resized[y, x] = value
            low[x], high[x] = min(low[x], value), max(high[x], value)
    return low.min(), high.max()


@njit(cache=True, nogil=True)
def _weights(length, out_length, bicubic):
    """Return (4, out_length) positions and weights of the samples of each new one; pixel centres, no corners."""
    positions, weights = np.zeros((4, out_length), np.int64), np.zeros((4, out_length))
    sharpness, one = np.float32(-0.75), np.float32(1)
    for i in range(out_length):
        place = (i + 0.5) * (length / out_length) - 0.5
        if not bicubic:
            first = int(np.floor(place))
            weights[0, i], weights[1, i] = 1 - (place - first), place - first
        else:
            first = int(np.floor(np.float32(place))) - 1
            t = np.float32(np.float32(place) - np.float32(first + 1))
            a, u = sharpness, one - t
            near, far = t + one, np.float32(5) * a
            w0 = ((a * near - far) * near + np.float32(8) * a) * near - np.float32(4) * a
            w1 = ((a + np.float32(2)) * t - (a + np.float32(3))) * t * t + one
            w2 = ((a + np.float32(2)) * u - (a + np.float32(3))) * u * u + one
            weights[0, i], weights[1, i], weights[2, i], weights[3, i] = w0, w1, w2, one - w0 - w1 - w2
        for k in range(4):
            positions[k, i] = min(max(first + k, 0), length - 1)
    return positions, weights
