"""Read annotations from a user's CSV file."""

from pathlib import Path

import numpy as np

from wsol.data.annotations.clipped import clip_truth
from wsol.data.decode import read_size
from wsol.data.formats.box_format import check_numbers, refuse_fractions, to_edges
from wsol.data.formats.boxes_csv import by_image, read_boxes_table
from wsol.data.ground_truth import GroundTruth


def read_csv(path: Path, split: str | None, images: Path | None = None, inclusive: bool = False) -> GroundTruth:
    """Read a CSV file with a line for each box: `image,x0,y0,x1,y1[,label][,width,height][,split]`.

    Args:
        path: UTF-8, any line endings; boxes of the original image, several lines for several boxes. Without a line that
            states another convention they are edges in pixels.
        split: the lines to read, where there is a column `split`.
        images: a folder that image sizes are read from, where there are no columns `width` and `height`.
        inclusive: the pixel (x1, y1) lies inside its box; otherwise the file states the convention.

    Returns:
        Labels that are all whole numbers are class ids; other labels are numbered in alphabetical order.

    Raises:
        FileNotFoundError: if the file is missing, or an image whose size is needed.
        ValueError: naming file and line of what is malformed.
    """
    table = read_boxes_table(path)
    box_format = table.box_format("inclusive" if inclusive else None, "--inclusive")
    rows = [row for row in table.rows if split is None or "split" not in table.columns or row.split == split]
    for row in rows:
        if row.numbers is None:
            raise ValueError(f"{row.origin}: image {row.image!r} has no box to score; give it one, or delete the line.")
    if not rows:
        raise ValueError(f"{path} holds no box" + (f" of the split {split!r}." if split else "."))
    numbers = np.array([row.numbers for row in rows], np.float64)

    def statement(other: str) -> str:
        return f"write '# boxes: {other}' as the first line of {path}"

    check_numbers(numbers, [row.origin for row in rows], box_format, statement)
    if box_format != "normalized" and (numbers % 1).any():
        refuse_fractions(numbers, str(path), statement("normalized"))
    image_rows = by_image(rows)
    sizes = {}
    for image, lines in image_rows.items():
        if lines.size is None and images is None:
            raise ValueError(f"{path} has no columns width and height; add them, or give --images FOLDER to read them.")
        sizes[image] = lines.size or read_size(Path(images or "") / image)
    names = sorted({lines.label for lines in image_rows.values()})
    known = all(names)
    numbered = known and all(name.isdecimal() for name in names)
    class_of = {name: int(name) if numbered else (index if known else -1) for index, name in enumerate(names)}
    truth = GroundTruth(
        image_ids=np.array(list(image_rows)),
        class_ids=np.array([class_of[lines.label] for lines in image_rows.values()], np.int64),
        boxes=[to_edges(lines.numbers, box_format, sizes[image]) for image, lines in image_rows.items()],
        sizes=np.array(list(sizes.values()), np.int64),
        class_names=tuple(names) if known and not numbered else (),
    )
    origins = [origin for lines in image_rows.values() for origin in lines.origins]
    return clip_truth(truth, path, origins.__getitem__)
