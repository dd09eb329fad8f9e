"""Make the predictions and maps of a run that its folder lacks, and read each file once."""

import functools
import logging
from collections.abc import Callable, Mapping

import pandas as pd
from torch import nn

from wsol.data.image_set import ImageSet
from wsol.data.splits import Splits
from wsol.machine import Machine
from wsol.maps.base_map import MapMethod
from wsol.maps.make_maps import make_maps, read_features
from wsol.maps.stored_maps import StoredMaps
from wsol.networks.classifier import Classifier
from wsol.networks.folding import optimize
from wsol.runs.artifacts import RunArtifacts
from wsol.runs.as_is import NetworkAsIs
from wsol.runs.experiment import SCORED_SPLITS, Experiment
from wsol.runs.features import features_of, trains_on_features
from wsol.runs.folder import load_maps, save_frame
from wsol.runs.map_parts import PartFiles, make_by_part, parts_of
from wsol.runs.records import MapsSource, ScoredImages

log = logging.getLogger(__name__)


class RunMaps:
    """Give the predictions and maps of a run on val and test.

    Predictions are read once and kept. Maps are read when their method's turn comes, see `source`: together, those of
    all methods on a large split take gigabytes.

    Args:
        experiment: what was trained, or the network that is scored as it is.
        classifier: returns the trained classifier; called only if something has to be made.
        artifacts: the files of the run.
        splits: the data.
        machine: where maps are made.
        methods: the methods of the evaluation that the network admits, as they read its layers; None: all, unchanged.
    """

    def __init__(
        self,
        experiment: Experiment | NetworkAsIs,
        classifier: Callable[[], nn.Module],
        artifacts: RunArtifacts,
        splits: Splits,
        machine: Machine,
        methods: Mapping[str, MapMethod] | None = None,
    ) -> None:
        self.experiment, self.classifier, self.artifacts = experiment, classifier, artifacts
        self.splits, self.machine = splits, machine
        self.methods = artifacts.evaluation.maps if methods is None else methods
        self.images = ScoredImages(self.predictions, splits.test)
        self._predictions: dict[str, pd.DataFrame] = {}

    @property
    def trained_by(self) -> Experiment:
        """Experiment that trained the network.

        Raises:
            TypeError: for a network as it is.
        """
        if not isinstance(self.experiment, Experiment):
            raise TypeError(f"{self.experiment.trained.name} is scored as it is; nothing trained it here.")
        return self.experiment

    def make_missing(self) -> None:
        """Make all predictions and maps that are not on disk, each split in as few passes as possible."""
        methods = self.methods
        for split in SCORED_SPLITS:
            missing = {name: methods[name] for name in methods if not self.artifacts.maps_file(split, name).exists()}
            if missing or not self.artifacts.predictions_file(split).exists():
                self._make(split, missing)

    def predictions(self, split: str) -> pd.DataFrame:
        """Return the predictions of a split, a row per image, as `make_maps` gives them."""
        if split not in self._predictions:
            predictions = self.artifacts.load_predictions(split)
            if predictions is None:
                self._make(split, {})
            else:
                self._predictions[split] = predictions
        return self._predictions[split]

    def source(self, name: str) -> MapsSource:
        """Return the maps of one method, which are in memory as long as the source is."""
        return MapsSource(name, lambda split: self._maps(split, name), self.machine.progress)

    @functools.cached_property
    def network(self) -> nn.Module:
        """Network that predictions and maps are made with."""
        classifier, evaluation = self.classifier(), self.artifacts.evaluation
        if not evaluation.optimized:
            return classifier
        layers = {layer for method in self.methods.values() for layer in method.target_layers}
        size = (self.experiment.image_size, self.experiment.image_size)
        return optimize(classifier, self.machine.device, layers, size)

    def _maps(self, split: str, name: str) -> StoredMaps:
        maps = self.artifacts.load_maps(split, name)
        return self._make(split, {name: self.methods[name]})[name] if maps is None else maps

    def _make(self, split: str, methods: Mapping[str, MapMethod]) -> dict[str, StoredMaps]:
        """Make and save maps; the predictions come with them, and are saved unless they are on disk."""
        made: dict[str, StoredMaps] = {}
        images: ImageSet = getattr(self.splits, split)
        for part, on_features in self._passes(methods):
            run, names = self.artifacts.folder.path.name, ", ".join(part) or "the predictions"
            log.info("%s: one pass over %s for %s", run, split, names)
            classifier = self._features_classifier() if on_features else None
            if classifier is not None:
                features = features_of(self.trained_by, classifier, images, self.machine)
                predictions, made = make_maps(self.network, features, part, self.machine)
            elif len(parts_of(len(images), part, self.machine.batch_size)) > 1:
                made = self._make_by_part(split, part)
                continue
            else:
                predictions, made = make_maps(self.network, images, part, self.machine)
            if split not in self._predictions:
                stored = self.artifacts.load_predictions(split)
                if stored is None:
                    save_frame(self.artifacts.predictions_file(split), predictions)
                self._predictions[split] = predictions if stored is None else stored
            for name, maps in made.items():
                maps.save(self.artifacts.maps_file(split, name))
        return made

    def _make_by_part(self, split: str, methods: Mapping[str, MapMethod]) -> dict[str, StoredMaps]:
        maps = {name: self.artifacts.maps_file(split, name) for name in methods}
        predictions = self.artifacts.predictions_file(split)
        if self.artifacts.load_predictions(split) is None:
            predictions.unlink(missing_ok=True)  # a damaged file
        images: ImageSet = getattr(self.splits, split)
        if isinstance(self.experiment, Experiment):  # a network as it is reads every image once, however many there are
            images.preload()
        make_by_part(lambda: self.network, images, methods, PartFiles(predictions, maps), self.machine)
        self._predictions[split] = pd.read_parquet(predictions)
        return {name: load_maps(path) for name, path in maps.items()}

    def _features_classifier(self) -> Classifier | None:
        """Return the classifier whose trunk has stored features; None where the images go through the network."""
        if not isinstance(self.experiment, Experiment) or self.artifacts.evaluation.optimized:
            return None
        classifier = self.classifier()
        return (
            classifier
            if isinstance(classifier, Classifier) and trains_on_features(self.experiment, classifier)
            else None
        )

    def _passes(self, maps: Mapping[str, MapMethod]) -> list[tuple[dict[str, MapMethod], bool]]:
        """Divide methods into passes over a split; each pass reads the images of the split, or its stored features.

        One pass makes all that a single pass over the same input gives, and each method that takes more calls has its
        own pass. Another pass costs little beside those calls, and its maps are saved before the next one starts.
        """
        stored = self._features_classifier() is not None
        passes: dict[tuple[str, bool], dict[str, MapMethod]] = {}
        for name, method in maps.items():
            on_features = stored and read_features(method)
            passes.setdefault((name if method.needs == "calls" else "", on_features), {})[name] = method
        quick_first = sorted(passes, key=lambda key: (key[0] != "", not key[1]))
        return [(passes[key], key[1]) for key in quick_first] or [({}, stored)]
