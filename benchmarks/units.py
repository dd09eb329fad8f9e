"""Draw the units of a class: those with its largest weights, and crops of the images that excite each unit most.

python benchmarks/units.py results/runs/NAME
python benchmarks/units.py results/runs/NAME class=Auklet,9 units=3 crops=8 machine.data_root=DATA

RUN is the folder of a trained run. The command writes a PNG per class. Settings: class=ID_OR_NAME[,...] (default: all
classes), units=5, crops=6, split=test, and the options of benchmarks/run.py under machine. The images are those of the
run's own data set. The exit status is 2 if an argument is wrong.
"""

import argparse
import re
import sys
from pathlib import Path

from config.build import machine_of
from config.options import command_words
from config.saved_runs import configuration, end, made_by, read_run
from wsol.data.class_names import find_class
from wsol.explain.class_units import class_units, most_exciting
from wsol.report.pictures.class_units import draw_units
from wsol.report.pictures.panels import PictureText

_SETTINGS = {"class": "", "units": "5", "crops": "6", "split": "test"}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    commands = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    commands.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    commands.add_argument("--out", type=Path, default=Path("results/units"), metavar="DIR", help="results/units")
    return commands


def whole_number(name: str, text: str) -> int:
    """Return the value of a setting that is a number of things.

    Raises:
        ValueError: if the text is not a whole number.
    """
    if not text.isdecimal():
        raise ValueError(f"{name} must be a whole number, got {text!r}.")
    return int(text)


def draw(arguments: argparse.Namespace) -> int:
    """Write the pictures and print their paths; return the exit status."""
    settings = dict(_SETTINGS)
    overrides = []
    for word in arguments.settings:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"expected SETTING=VALUE, got {word!r}.")
        if key in settings:
            settings[key] = value
        else:
            overrides.append(word)
    units_per_class, crops = whole_number("units", settings["units"]), whole_number("crops", settings["crops"])
    if settings["split"] not in ("train", "val", "test"):
        raise ValueError(f"split must be train, val or test, got {settings['split']!r}.")
    cfg = configuration(overrides)
    run = read_run(arguments.run)
    splits = run.splits(cfg)
    names = splits.class_names
    classes = settings["class"]
    class_ids = [find_class(name, names) for name in classes.split(",")] if classes else range(len(names))
    units = {class_id: class_units(run.classifier, class_id, units_per_class) for class_id in class_ids}
    images = getattr(splits, settings["split"])
    numbers = sorted({unit.unit for units_of_class in units.values() for unit in units_of_class})
    excited = most_exciting(run.classifier, images, numbers, crops, machine_of(cfg.machine))
    for class_id, units_of_class in units.items():
        safe = re.sub(r"[^\w.-]+", "_", names[class_id])[:60]
        path = arguments.out / run.name / f"{class_id:03d}-{safe}.png"
        title = f"{names[class_id]}: the {len(units_of_class)} units of largest weight, on {images.name}; {run.name}"
        text = PictureText(title, names, [made_by()])
        draw_units(path, units_of_class, excited, images.__getitem__, text)
        print(f"picture: {path}")
    return 0


def main() -> int:
    """Run the command; return its exit status."""
    arguments = parser().parse_intermixed_args(command_words())
    return end(lambda: draw(arguments))


if __name__ == "__main__":
    sys.exit(main())
