"""The folder of a run of a random network, as `run_experiment` leaves it behind."""

from pathlib import Path

from networks import tiny_classifier
from wsol.data.readers.synthetic import synthetic
from wsol.networks.pooling.gap import GAP
from wsol.runs.folder import RunFolder, save_classifier

SETTINGS = {"image_size": 32, "num_classes": 5, "train_images": 5, "val_images": 5, "test_images": 6, "seed": 0}


def make_run(root: Path) -> Path:
    folder = RunFolder(root / "runs" / "tiny")
    settings = {**SETTINGS, "cache_dir": str(root / "cache")}
    identity = {
        "data": {
            "settings": {"option": "synthetic", **settings},
            "fingerprint": synthetic(**settings).fingerprint,
        },
        "backbone": {"option": "small_cnn", "channels": [6, 10]},
        "pooling": {"option": "gap"},
        "image_size": 32,
    }
    folder.path.mkdir(parents=True)
    folder.write_settings({"run": "tiny", "data": "synthetic", "num_classes": 5, "identity": identity})
    save_classifier(folder.classifier_file, tiny_classifier(GAP()), [])
    return folder.path
