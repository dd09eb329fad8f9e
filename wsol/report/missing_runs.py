"""Find the runs that a comparison lacks, and the commands that make them."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from wsol.comparison.claim import Claim
from wsol.runs.few_shot import few_shot_count
from wsol.runs.head_name import HeadName

_OF_A_SEED = r"(seed|few_shot)="
_OF_MAPS = re.compile(r"[+~]*maps(?:\.(\w+))?[.=]")
_OF_A_RUN = r"(seed|pool_site|pooling_at_test|(pooling|method)(\.\w+)?)="


def missing_runs(
    settings: Iterable[Mapping[str, Any]], poolings: Iterable[str] = (), failed: Iterable[Mapping[str, Any]] = ()
) -> Iterator[tuple[str, str, list[int]]]:
    """Yield each pooling that lacks a seed of another head: a command of another run, the pooling, the seeds.

    Args:
        settings: the runs of a comparison, as in `settings.json`.
        poolings: further poolings that are wanted.
        failed: settings of runs that diverged or collapsed. They are not lacking, and a head that has not tried their
            seed lacks it; but a few-shot network is made only beside a run that learned.
    """
    learned = list(settings)
    runs = [*learned, *failed]
    seeds_of: dict[str, set[int]] = {pooling: set() for pooling in poolings}
    for run in runs:
        seeds_of.setdefault(run["pooling"], set()).add(int(run["seed"]))
    beside_heads, beside_learned = _seeds_of_heads(runs), _seeds_of_heads(learned)
    for pooling in sorted(seeds_of):
        wanted = beside_heads if few_shot_count(pooling) is None else beside_learned
        lacking = sorted(wanted - seeds_of[pooling])
        if lacking and runs:
            commands = [str(run["command"]) for run in runs if run.get("command")]
            yield commands[0] if commands else "python benchmarks/run.py", pooling, lacking


def _seeds_of_heads(runs: Iterable[Mapping[str, Any]]) -> set[int]:
    return {int(run["seed"]) for run in runs if few_shot_count(run["pooling"]) is None}


def command_for(command: str, pooling: str, seeds: Iterable[int]) -> str:
    """Change a command to another pooling and other seeds.

    Args:
        command: the command of runs that differ in nothing else.
        pooling: name of the head, or of a few-shot network, which is trained beside any head.
        seeds: the seeds to train.
    """
    count = few_shot_count(pooling)
    changed = _OF_A_RUN if count is None else _OF_A_SEED
    words = [word for word in shlex.split(command) if not re.match(changed, word)]
    named = HeadName.read(pooling).overrides() if count is None else [f"few_shot=[{count}]"]
    numbers = ",".join(str(seed) for seed in seeds)
    many = "," in numbers and not any(word.startswith("sweep=") or word in ("-m", "--multirun") for word in words)
    return shlex.join([*words, *named, f"seed={numbers}", *(["-m"] if many else [])])


def with_maps(command: str, maps: Sequence[str]) -> str:
    """Change a command to these map methods; the settings of other methods, which would be errors, are left out."""
    words = shlex.split(command)
    named = [(_OF_MAPS.match(word), word) for word in words]
    kept = [word for match, word in named if match is None or match[1] in maps]
    return shlex.join([*kept, f"maps=[{','.join(maps)}]"])


def with_protocol(command: str, claim: Claim) -> str:
    """Change a command to the protocol and the scores of a claim, so that it scores the same networks again."""
    words = [word for word in shlex.split(command) if not re.match(r"(protocol(\.\w+)?|scores)=", word)]
    scores = ",".join(name for name in {**claim.score, **claim.minus, **claim.beside, **claim.located_by})
    return shlex.join([*words, f"protocol={claim.protocol}", f"scores=[{scores}]"])
