"""Compile the scoring engine once for each machine, with a log line, so that the wait does not look like a hang."""

import functools
import logging
import threading
import time

import numpy as np

from wsol.scoring.boxes.largest import largest
from wsol.scoring.engine.regions import compile_all
from wsol.scoring.matching import best_of
from wsol.scoring.pixel_scores import score_histograms
from wsol.scoring.pointing import peak_and_energy
from wsol.scoring.protocol import REFERENCE
from wsol.scoring.score_map import fill_score_map
from wsol.scoring.thresholds import label_free_thresholds

log = logging.getLogger(__name__)

_PATIENCE = 2.0  # seconds; loading what was compiled before takes less


@functools.cache
def compile_engine() -> None:
    """Call every compiled function once; log a line if that takes more than a moment."""
    begun = time.perf_counter()
    text = "Compiling the scoring engine for this machine: up to a minute, once; Numba keeps it for later runs."
    timer = threading.Timer(_PATIENCE, log.info, [text])
    timer.daemon = True
    timer.start()
    try:
        compile_all()
        score_map, boxes = np.empty((4, 4)), np.array([[0, 0, 2, 2]], np.float32)
        fill_score_map(np.eye(3), score_map, REFERENCE, "warm-up")
        best_of(largest(score_map, [0.5]), boxes)
        label_free_thresholds(score_map)
        peak_and_energy(score_map, boxes)
        score_histograms(score_map, np.zeros((4, 4), np.uint8), np.array([0.5]))
    finally:
        timer.cancel()
    if time.perf_counter() - begun > _PATIENCE:
        log.info("Compiled in %.0f s.", time.perf_counter() - begun)
