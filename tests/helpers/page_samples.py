"""Pages of a report for tests: made-up numbers, hostile names, small pictures."""

import base64
import io

import numpy as np
from PIL import Image

from wsol.report.content import (
    Answer,
    Cell,
    Column,
    Drawing,
    Gallery,
    Page,
    RunCard,
    Section,
    Shown,
    Table,
    View,
)

SCRIPT = "<script>alert(1)</script>"
PICTURE = "<img src=x onerror=alert(1)>"
ENDS_SCRIPT = "</script><!-- <script>alert(2)//"
UNBROKEN = "a_name_without_any_space_" * 4
RUNS = ("cub-resnet50-gap-s0-1c9f02ab", "cub-resnet50-gap-s1-77aa01ff", "cub-resnet50-gmp-s0-0b9e3c55", SCRIPT)
COMMAND = "python benchmarks/run.py data=cub pooling=gmp seed=1 'maps=[cam,grad_cam]'"
SETTINGS = ("gap · cam", "gmp · cam", "gap · grad_cam", "gmp · grad_cam", *(f"setting {n}" for n in range(5, 9)))
ERRORS = ("right", "too small", "too large", "wrong place", "wrong class", "no box")
SIZES = ("small", "medium", "large")
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="504pt" height="160pt" viewBox="0 0 504 160">'
    '<style>*{{stroke-linejoin: round}}</style><rect width="504" height="160" fill="#fff"/>'
    '<path d="M10 150 L490 20" style="stroke: #0072B2; stroke-width: 2"/>'
    '<text x="20" y="30" style="font: 12px sans-serif">{}</text></svg>'
)


def data_uri(pixels: np.ndarray, kind: str) -> str:
    """A picture (H, W) or (H, W, 3) of bytes, kind PNG or JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def photo(seed: int, side: int = 48) -> str:
    rows, columns = np.mgrid[:side, :side] / side
    channels = [rows, columns, np.full_like(rows, (seed % 7) / 7)]
    return data_uri((255 * np.stack(channels, axis=-1)).astype(np.uint8), "JPEG")


def score_map(seed: int, side: int = 14) -> str:
    rows, columns = np.mgrid[:side, :side] / side
    hill = np.exp(-((rows - 0.3 - 0.05 * (seed % 9)) ** 2 + (columns - 0.5) ** 2) / 0.05)
    return data_uri((255 * hill / hill.max()).astype(np.uint8), "PNG")


def flat_map(level: int) -> str:
    return data_uri(np.full((14, 14), level, np.uint8), "PNG")


def number(text: str, value: float, *runs: str, best: bool = False) -> Cell:
    return Cell(text, value, best=best, hint="over 2 seeds", runs=runs or RUNS[:2])


def score_table() -> Table:
    columns = [
        Column("setting"),
        Column("top1_cls", "classification", "share of images whose true class comes first"),
        Column("max_box_acc", "localization"),
        Column("gt_known_loc", "localization", "IoU of at least 0.5, at the threshold chosen on val"),
        Column("max_box_acc", "oracle: τ on test"),
        Column("note"),
    ]
    rows = [
        [
            Cell("gap · cam", "gap · cam"),
            number("93.8 ± 0.6", 0.938),
            number("68.9", 0.689, RUNS[0]),
            number("65.3", 0.653),
            number("70.1", 0.701),
            Cell("same as cam", "same as cam"),
        ],
        [
            Cell("gmp · cam", "gmp · cam"),
            number("9.4", 0.094, best=True),
            number("65.0", 0.650, SCRIPT),
            Cell("missing", command=COMMAND),
            number("66.0", 0.66),
            Cell("–"),
        ],
        [
            Cell(SCRIPT, SCRIPT),
            number("−1.0", -0.01),
            Cell("–", command="make demo"),
            number("60.0", 0.6),
            Cell("–"),
            Cell(PICTURE, PICTURE),
        ],
        [
            Cell(UNBROKEN, UNBROKEN),
            number("96.4", 0.964, best=True),
            number("100.0", 1.0),
            number("7.0", 0.07),
            Cell("nan", float("nan")),
            Cell("b", "b", runs=("no such run",)),
        ],
    ]
    return Table("Scores", columns, rows, ["Percent; mean ± sample standard deviation over seeds."])


def long_table(rows: int = 60) -> Table:
    columns = [Column("class"), *(Column(f"score {n}") for n in range(12))]
    cells = [[Cell(f"class {n}", f"class {n}"), *(number(f"{n}.0", n / 100) for _ in range(12))] for n in range(rows)]
    return Table("By class", columns, cells)


def shown(index: int, settings: int, with_photo: bool = True) -> Shown:
    """Image n: class n mod 5, size n mod 3; the errors of its settings are n, n + 1, ... mod 6."""
    classes = ("Auklet", "Black footed Albatross", SCRIPT, PICTURE, "Sooty Albatross")
    errors = [ERRORS[(index + n) % 6] for n in range(settings)]
    views = [
        View(
            box=None if error == "no box" else (0.1, 0.05 * n, 0.6, 0.9),
            iou=0.5 + 0.01 * n,
            top1=None if n == 3 else error != "wrong class",
            error=error,
            score_map=score_map(index + n),
        )
        for n, error in enumerate(errors)
    ]
    return Shown(
        image_id=f"{index:05d}.jpg" if index else ENDS_SCRIPT,
        class_name=classes[index % 5],
        size=SIZES[index % 3],
        aspect=(1.0, 1.5, 0.75)[index % 3],
        true_boxes=[(0.2, 0.1, 0.8, 0.9)],
        views=views,
        photo=photo(index) if with_photo else "",
    )


def gallery(images: int, settings: int, with_photo: bool = True) -> Gallery:
    orders = {"as stored": range(images), "last first": range(images - 1, -1, -1), "every third": range(0, images, 3)}
    return Gallery(SETTINGS[:settings], [shown(n, settings, with_photo) for n in range(images)], orders, "All images.")


def answers() -> list[Answer]:
    reading = "MaxBoxAcc of CAM, GMP − GAP, 2 seeds each, protocol tight; the interval covers images and seeds."
    claim, other = "GMP finds a smaller part of the object than GAP.", f"Names are text, {SCRIPT} too."
    section, where = "cub/resnet50", "CUB, ResNet-50"
    numbers = ("+3.2 points", "[+1.0, +5.4]", "0.003")
    return [
        Answer(claim, "Zhou et al., CVPR 2016", where, section, "supported", *numbers, reading, "", RUNS[:3]),
        Answer(
            claim,
            "Zhou et al., CVPR 2016",
            "Birds",
            "birds",
            "reversed",
            *numbers,
            reading,
            "",
            RUNS[:1],
            "n too small",
        ),
        Answer(other, "", where, section, "inconclusive", "+0.2 points", "[−1.9, +2.3]", "< 0.9", reading, "20 seeds"),
        Answer(other, "", "Nowhere", "no such section", "not testable", "", "", "", "", COMMAND, ("no such run",)),
    ]


def sample_page(images: int = 12, settings: int = 4, with_photo: bool = True) -> Page:
    """Two sections, tables of every kind of cell, a drawing, a gallery, four runs of which one is called a script."""
    return Page(
        title=f"Report & {SCRIPT}",
        made_by="python benchmarks/compare.py at 1c9f02ab",
        warnings=["Runs of different code: 1c9f02ab and 77aa01ff.", PICTURE],
        answers=answers(),
        sections=[
            Section(
                "cub/resnet50",
                "CUB, ResNet-50",
                ["5,794 test images.", "Protocol tight."],
                [score_table(), long_table()],
                [Drawing("Box accuracy", SVG.format("IoU 0.5"), "By threshold."), Drawing("Bare", "<svg></svg>")],
                gallery(images, settings, with_photo),
            ),
            Section("cub resnet50", f"Birds {PICTURE}", tables=[Table("Empty", [Column("setting"), Column("n")], [])]),
        ],
        runs=[RunCard(name, {"command": COMMAND}, '{"seed": 0}', {"tight": '{"name": "tight"}'}) for name in RUNS],
    )
