"""Draw one synthetic image: anti-aliased shapes by signed distance, in numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsol.data.birds.world import PARTS, STRONG_PARTS, BirdSettings, Color, hue_to_rgb

Coverage = NDArray[np.float64]  # (H, W) in [0, 1], the share of each pixel that a shape covers


class Canvas:
    """A square image that shapes are painted on.

    A pixel's coverage is read off its centre's signed distance to the shape's edge, which is right to first order.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.pixels = np.zeros((size, size, 3))
        self.centers: NDArray[np.float64] = np.arange(size, dtype=np.float64) + 0.5

    def ellipse(self, center: ArrayLike, radii: ArrayLike, angle: float = 0.0) -> Coverage:
        """Return the coverage of an ellipse with these radii in pixels, turned by an angle in radians."""
        return _ellipse(self.centers, self.centers, center, radii, angle)

    def convex(self, corners: ArrayLike) -> Coverage:
        """Return the coverage of a convex polygon: (P, 2) corners in pixels, in either order."""
        points = np.asarray(corners, dtype=np.float64)
        edges = np.roll(points, -1, axis=0) - points
        turn = np.sign(edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0])
        x, y = self.centers[None, :], self.centers[:, None]
        inside = np.full((self.size, self.size), np.inf)
        for (px, py), (ex, ey) in zip(points, edges, strict=True):
            np.minimum(inside, turn / np.sqrt(ex * ex + ey * ey) * (ex * (y - py) - ey * (x - px)), out=inside)
        return np.clip(0.5 + inside, 0, 1)

    def paint(self, coverage: Coverage, color: NDArray[np.float64]) -> None:
        """Lay a colour, (3,) or (H, W, 3), over the picture."""
        self.pixels += coverage[..., None] * (color - self.pixels)

    def paint_ellipse(
        self, center: NDArray[np.float64], radii: NDArray[np.float64], angle: float, color: Color
    ) -> None:
        """Lay a small ellipse over the picture within the window that it can reach: most of the speed."""
        reach = radii.max() + 1
        (left, top), (right, bottom) = np.clip(np.rint([center - reach, center + reach]), 0, self.size).astype(int)
        if right > left and bottom > top:
            coverage = _ellipse(self.centers[left:right], self.centers[top:bottom], center, radii, angle)
            pixels = self.pixels[top:bottom, left:right]
            pixels += coverage[..., None] * (color - pixels)


def _ellipse(
    columns: NDArray[np.float64], rows: NDArray[np.float64], center: ArrayLike, radii: ArrayLike, angle: float
) -> Coverage:
    (cx, cy), (rx, ry) = np.asarray(center), np.asarray(radii)
    x, y = columns[None, :] - cx, rows[:, None] - cy
    cos, sin = np.cos(angle), np.sin(angle)
    u, v = (x * cos + y * sin) / rx, (y * cos - x * sin) / ry
    value = np.sqrt(u * u + v * v)
    slope = np.sqrt((u / rx) ** 2 + (v / ry) ** 2) / np.maximum(value, 1e-9)
    return np.clip(0.5 - (value - 1) / np.maximum(slope, 1e-9), 0, 1)


@dataclass(frozen=True)
class Drawing:
    """One finished image and its ground truth."""

    image: NDArray[np.uint8]  # (H, W, 3)
    mask: NDArray[np.bool_]  # (H, W), the birds' visible pixels
    boxes: NDArray[np.float32]  # (instances, 4) edges
    part_boxes: NDArray[np.float32]  # (len(PARTS), 4) of the first bird; NaN where a part is hidden


def draw(
    settings: BirdSettings, colors: dict[str, NDArray[np.float64]], class_id: int, generator: np.random.Generator
) -> Drawing:
    """Draw one image of a species, everything else at random.

    A bird of which the leaves in front hide almost everything is drawn without leaves instead, so that each has a box.
    """
    canvas = Canvas(settings.image_size)
    _paint_background(canvas, settings, colors, class_id, generator)
    light = 1 + settings.color_jitter * generator.uniform(-0.3, 0.3, size=3)
    visible: list[dict[str, Coverage]] = []
    for _ in range(settings.instances):
        shapes = _bird_shapes(canvas, settings, generator)
        plumage = generator.uniform(0.3, 0.6) + settings.color_jitter * generator.uniform(-0.1, 0.1, size=3)
        shading = 1 + 0.25 * settings.clutter * (_texture(canvas.size, 8, generator) - 0.5)
        for part in PARTS:
            strength = settings.head_evidence if part in STRONG_PARTS else settings.body_evidence
            strength *= 1 - settings.color_jitter * generator.uniform(0, 0.6)
            color = plumage + strength * (colors[part][class_id] - plumage)
            jittered = color + settings.color_jitter * generator.uniform(-0.12, 0.12, size=3)
            canvas.paint(shapes[part], jittered * shading)
            for below in visible:  # what this part covers of the birds behind it
                for name in below:
                    below[name] = below[name] * (1 - shapes[part])
            for name in PARTS[: PARTS.index(part)]:  # and of this bird's own parts
                shapes[name] = shapes[name] * (1 - shapes[part])
        visible.append(shapes)
    for _ in range(generator.integers(0, 1 + round(3 * settings.clutter))):
        leaf_place = _leaf(canvas, generator)
        leaf = canvas.ellipse(*leaf_place)
        # A leaf may hide a part, but not a bird.
        hidden = [{name: shape * (1 - leaf) for name, shape in bird.items()} for bird in visible]
        if all(_union(after).sum() > 0.7 * _union(before).sum() for after, before in zip(hidden, visible, strict=True)):
            canvas.paint(leaf, _leaf_color(generator))
            visible = hidden
    noise = generator.normal(0, 0.02, size=canvas.pixels.shape)
    image = np.rint(np.clip(canvas.pixels * light + noise, 0, 1) * 255).astype(np.uint8)
    masks = [_union(bird) >= 0.5 for bird in visible]
    return Drawing(
        image=image,
        mask=np.logical_or.reduce(masks),
        boxes=np.array([bounding_box(mask) for mask in masks if mask.any()], dtype=np.float32).reshape(-1, 4),
        part_boxes=np.array([bounding_box(visible[0][part] >= 0.5) for part in PARTS], dtype=np.float32),
    )


def bounding_box(mask: NDArray[np.bool_]) -> list[float]:
    """Return the tight box (edges) around the True pixels; four NaN where there are none."""
    if not mask.any():
        return [float("nan")] * 4
    (rows,), (columns,) = np.nonzero(mask.any(axis=1)), np.nonzero(mask.any(axis=0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def _union(parts: dict[str, Coverage]) -> Coverage:
    # Visible parts of one bird do not overlap, so their coverages add up.
    return np.minimum(sum(parts.values(), np.zeros(())), 1)


def _bird_shapes(canvas: Canvas, settings: BirdSettings, generator: np.random.Generator) -> dict[str, Coverage]:
    """Return the coverage of each part; the model bird faces right, one unit long from beak to tail at extent 1."""
    unit = generator.uniform(*settings.object_scale) * canvas.size
    angle = generator.uniform(-0.45, 0.45)
    flip = generator.choice([-1.0, 1.0])
    long, fat = settings.extent, generator.uniform(0.85, 1.15)
    nod, raised, spread = generator.uniform(-0.05, 0.05), generator.uniform(-0.5, 0.3), generator.uniform(0.06, 0.12)
    length = 0.45 * long + 0.55  # of the whole bird, which `object_scale` speaks of
    scale = unit / length
    half = 0.5 * min(0.9 * unit, canvas.size)
    center = (
        generator.uniform(half, canvas.size - half, size=2) if canvas.size > 2 * half else np.full(2, canvas.size / 2)
    )
    cos, sin = np.cos(angle), np.sin(angle)

    def place(points: ArrayLike) -> NDArray[np.float64]:
        u, v = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
        u, v = (u - 0.08 + 0.1 * (long - 1)) * scale, v * scale
        return np.stack([center[0] + flip * (u * cos - v * sin), center[1] + u * sin + v * cos], axis=-1)

    turn = flip * angle
    head = np.array([0.31, -0.17 + nod])
    body_end = 0.28 - 0.56 * long  # the breast stays by the head; a longer body grows backwards
    body_center, body_radius = np.array([(0.28 + body_end) / 2, 0.0]), (0.28 - body_end) / 2
    wing_center = body_center + np.array([-0.06 * long, -0.02])
    return {
        "tail": canvas.convex(
            place(
                [
                    [body_end + 0.1, -0.04],
                    [body_end - 0.2 * long, -spread],
                    [body_end - 0.2 * long, spread],
                    [body_end + 0.1, 0.06],
                ]
            )
        ),
        "body": canvas.ellipse(place(body_center), [body_radius * scale, 0.17 * fat * scale], turn),
        "wing": canvas.ellipse(place(wing_center), [0.62 * body_radius * scale, 0.09 * scale], turn + flip * raised),
        "head": canvas.ellipse(place(head), [0.105 * scale, 0.1 * scale], turn),
        "beak": canvas.convex(place(head + np.array([[0.08, -0.045], [0.2, 0.015], [0.08, 0.045]]))),
    }


def _texture(size: int, cells: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return (size, size, 3) smooth noise in [0, 1]: random values on a coarse grid, linearly interpolated."""
    grid = generator.random((cells + 1, cells + 1, 3))
    place = (np.arange(size) + 0.5) / size * cells
    low = np.minimum(place.astype(int), cells - 1)
    share = (place - low)[:, None]
    rows = grid[low] * (1 - share[..., None]) + grid[low + 1] * share[..., None]
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share


def _paint_background(
    canvas: Canvas,
    settings: BirdSettings,
    colors: dict[str, NDArray[np.float64]],
    class_id: int,
    generator: np.random.Generator,
) -> None:
    own = generator.random() < settings.background_correlation
    hue = class_id / settings.num_classes if own else generator.random()
    base = 0.35 + 0.3 * generator.random() + 0.35 * (hue_to_rgb(hue) - 0.5)
    texture = sum(
        weight * (_texture(canvas.size, cells, generator) - 0.5) for cells, weight in ((3, 0.5), (8, 0.35), (20, 0.3))
    )
    canvas.pixels[:] = base + settings.clutter * texture
    size = canvas.size
    for _ in range(round(6 * settings.clutter)):  # twigs
        radii = np.array([generator.uniform(0.2, 0.7), generator.uniform(0.008, 0.03)]) * size
        color = np.array([0.35, 0.25, 0.15]) * generator.uniform(0.6, 1.5)
        canvas.paint_ellipse(generator.random(2) * size, radii, generator.uniform(0, np.pi), color)
    for _ in range(round(8 * settings.clutter)):
        canvas.paint_ellipse(*_leaf(canvas, generator), _leaf_color(generator))
    for _ in range(settings.distractors):
        part = PARTS[generator.integers(len(PARTS))]
        color = colors[part][generator.integers(settings.num_classes)]
        strength = settings.head_evidence if part in STRONG_PARTS else settings.body_evidence
        radii = generator.uniform(0.03, 0.08, size=2) * size
        place = generator.random(2) * size
        canvas.paint_ellipse(place, radii, generator.uniform(0, np.pi), 0.45 + strength * (color - 0.45))


def _leaf(canvas: Canvas, generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the centre, radii and angle of a leaf."""
    radii = np.array([generator.uniform(0.04, 0.12), generator.uniform(0.02, 0.05)]) * canvas.size
    return generator.random(2) * canvas.size, radii, generator.uniform(0, np.pi)


def _leaf_color(generator: np.random.Generator) -> Color:
    return np.array([0.25, 0.45, 0.15]) + generator.uniform(-0.15, 0.2, size=3)
