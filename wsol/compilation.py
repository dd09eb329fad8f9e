"""The scoring engine is compiled once for each machine and then kept; that once must not look like a hang."""

import functools
import logging
import threading
import time

import numpy as np

from wsol.boxes.every import every
from wsol.boxes.largest import largest
from wsol.matching import best_of
from wsol.otsu import otsu_threshold
from wsol.pointing import peak_and_energy
from wsol.protocol import REFERENCE
from wsol.score_map import fill_score_map

log = logging.getLogger(__name__)

_PATIENCE = 2.0  # seconds; loading what was compiled before takes less


@functools.cache
def compile_engine() -> None:
    """Call every compiled function once, saying so in the log if it takes more than a moment."""
    begun = time.perf_counter()
    text = "Compiling the scoring engine for this machine: up to a minute, once; Numba keeps it for later runs."
    timer = threading.Timer(_PATIENCE, log.info, [text])
    timer.daemon = True
    timer.start()
    try:
        score_map = np.empty((4, 4))
        fill_score_map(np.eye(3), score_map, REFERENCE, "warm-up")
        for rule in (largest, every):
            best_of(rule(score_map, [0.5], REFERENCE), np.array([[0, 0, 2, 2]], np.float32))
        otsu_threshold(score_map)
        peak_and_energy(score_map, np.array([[0, 0, 2, 2]], np.float32))
    finally:
        timer.cancel()
    if time.perf_counter() - begun > _PATIENCE:
        log.info("Compiled in %.0f s.", time.perf_counter() - begun)
