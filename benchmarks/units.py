"""What a class is made of: its units with the largest weights, and crops of the images that excite each most.

python benchmarks/units.py results/runs/NAME
python benchmarks/units.py results/runs/NAME class=Auklet,9 units=3 crops=8 machine.data_root=DATA

RUN is the folder of a trained run. Writes a PNG a class. Settings: class=ID_OR_NAME[,...] (all classes), units=5,
crops=6, split=test, and the options of benchmarks/run.py under machine. The images are those of the run's own data set.
Exit status: 2 where something was wrong with what was given.
"""

import argparse
import re
import sys
from pathlib import Path

from config.options import command_words
from config.saved_runs import configuration, end, made_by, read_run
from wsol.data.class_names import find_class
from wsol.explain.class_units import class_units, most_exciting
from wsol.report.pictures.class_units import draw_units
from wsol.runs.experiment import device_of

_SETTINGS = {"class": "", "units": "5", "crops": "6", "split": "test"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    made.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    made.add_argument("--out", type=Path, default=Path("results/units"), metavar="DIR", help="results/units")
    return made


def whole_number(name: str, text: str) -> int:
    """A setting that counts something."""
    if not text.isdecimal():
        raise ValueError(f"{name} must be a whole number, got {text!r}.")
    return int(text)


def draw(arguments: argparse.Namespace) -> int:
    """Write the pictures and print their paths."""
    asked = dict(_SETTINGS)
    overrides = []
    for word in arguments.settings:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"expected SETTING=VALUE, got {word!r}.")
        if key in asked:
            asked[key] = value
        else:
            overrides.append(word)
    units_a_class, crops = whole_number("units", asked["units"]), whole_number("crops", asked["crops"])
    if asked["split"] not in ("train", "val", "test"):
        raise ValueError(f"split must be train, val or test, got {asked['split']!r}.")
    cfg = configuration(overrides)
    run = read_run(arguments.run)
    splits = run.splits(cfg)
    names = splits.class_names
    wanted = [find_class(one, names) for one in asked["class"].split(",")] if asked["class"] else range(len(names))
    units = {class_id: class_units(run.classifier, class_id, units_a_class) for class_id in wanted}
    images = getattr(splits, asked["split"])
    excited = most_exciting(
        run.classifier,
        images,
        sorted({one.unit for found in units.values() for one in found}),
        crops,
        device=device_of(cfg.machine.accelerator),
        batch_size=cfg.machine.batch_size,
        workers=cfg.machine.workers,
        progress=cfg.machine.progress,
    )
    for class_id, found in units.items():
        safe = re.sub(r"[^\w.-]+", "_", names[class_id])[:60]
        path = arguments.out / run.name / f"{class_id:03d}-{safe}.png"
        title = f"{names[class_id]}: the {len(found)} units of largest weight, on {images.name}; {run.name}"
        draw_units(path, found, excited, images.__getitem__, names, title, made_by())
        print(f"picture: {path}")
    return 0


def main() -> int:
    """The command."""
    arguments = parser().parse_intermixed_args(command_words())
    return end(lambda: draw(arguments))


if __name__ == "__main__":
    sys.exit(main())
