"""Read the claims of conf/claim with the scores that they name."""

from collections.abc import Sequence
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from yaml import YAMLError  # type: ignore[import-untyped]  # a dependency of OmegaConf

from config.build import build
from config.options import option_files
from wsol.comparison.claim import Claim
from wsol.scoring.score import Score


def read_claims(names: Sequence[str] | None = None) -> list[Claim]:
    """Read claims by name; None for all, in the order of their names.

    Raises:
        ValueError: if there is no such claim or score, or if a file contains no claim.
    """
    files = option_files("claim")
    unknown = [name for name in names or () if name not in files]
    if unknown:
        raise ValueError(f"there is no claim {', '.join(unknown)}; claims: {', '.join(files)}.")
    return [read_claim(files[name].read_text(encoding="utf-8"), name) for name in (files if names is None else names)]


def read_claim(text: str, name: str) -> Claim:
    """Read one claim from the text of its file, which names scores by their files in conf/scores.

    Raises:
        ValueError: if the text is no claim.
    """
    try:
        node: Any = OmegaConf.to_container(OmegaConf.create(text))
        scores = {key: _scores(node.pop(key, [])) for key in ("score", "minus", "beside", "located_by")}
        # The scores are passed later, because `build` would treat them as configuration.
        return build({**node, "_partial_": True})(**scores)
    except (AttributeError, ImportError, InstantiationException, TypeError, ValueError, YAMLError) as error:
        raise ValueError(f"the claim {name!r} cannot be read: {error}") from None


def _scores(names: str | Sequence[str]) -> dict[str, Score]:
    files = option_files("scores")
    made: dict[str, Score] = {}
    for name in [names] if isinstance(names, str) else names:
        node: Any = OmegaConf.load(files[name]) if name in files else {}
        if name not in node:
            known = sorted(stem for stem, path in files.items() if stem in OmegaConf.load(path))
            raise ValueError(f"there is no score {name!r} in conf/scores; scores: {', '.join(known)}")
        made[name] = build(node[name])
    return made
