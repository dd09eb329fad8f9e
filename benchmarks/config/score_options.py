"""Read the options of conf/scores, and those of the user, as a command's table needs them: all of them, by name."""

from omegaconf import DictConfig, OmegaConf

from config.build import build
from config.options import option_file, option_files
from wsol.scoring.box_ranges import BoxRule
from wsol.scoring.score import PIXELS, Score


def score_options() -> dict[str, Score]:
    """Return every score that a file of conf/scores, or of the user's own configuration folder, defines.

    Raises:
        ValueError: for a file that defines something else.
    """
    scores: dict[str, Score] = {}
    for name, path in option_files("scores").items():
        node = OmegaConf.load(path)
        assert isinstance(node, DictConfig)
        if "defaults" in node:  # a list of other files
            continue
        built = build(node)
        if not all(isinstance(score, Score) for score in built.values()):
            raise ValueError(f"{path} must define scores, `{name}: {{_target_: wsol.scoring.score.Score, ...}}`.")
        scores |= built
    return scores


def box_rules_of(scores: dict[str, Score]) -> dict[str, BoxRule]:
    """Return the box rules `largest` and `every`, and those that scores of the user read."""
    names = dict.fromkeys(["largest", "every", *(score.boxes for score in scores.values() if score.boxes != PIXELS)])
    rules: dict[str, BoxRule] = {}
    for name in names:
        rules |= build(OmegaConf.load(option_file("boxes", name)))
    return rules
