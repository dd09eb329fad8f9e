"""The protocols ivr and pas: the reference with another normalization, under a name that holds the percentile."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from config.build import build
from wsol.identity import digest
from wsol.scoring.boxes.largest import largest
from wsol.scoring.protocol import NAMED, REFERENCE
from wsol.scoring.score_map import to_score_maps

CONF = Path(__file__).parents[2] / "conf"


def protocol_of(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("run", overrides=list(overrides)).protocol)


@pytest.mark.parametrize(
    ("option", "name", "fields"),
    [
        ("ivr", "ivr45", {"normalization": "ivr", "percentile": 45.0}),
        ("pas", "pas90", {"normalization": "percentile", "percentile": 90.0}),
    ],
)
def test_each_is_the_reference_with_another_normalization(option, name, fields):
    assert protocol_of(f"protocol={option}") == replace(REFERENCE, name=name, **fields)


@pytest.mark.parametrize(("option", "usual"), [("ivr", 45), ("pas", 90)])
def test_another_percentile_is_another_name(option, usual):
    usual_one, other = protocol_of(f"protocol={option}"), protocol_of(f"protocol={option}", "protocol.percentile=37.5")
    assert other.name == f"{option}37.5"
    assert (usual_one.percentile, other.percentile) == (usual, 37.5)
    assert digest(usual_one) != digest(other)
    assert {usual_one.name, other.name}.isdisjoint(NAMED)


@pytest.mark.parametrize("option", ["ivr", "pas"])
@pytest.mark.parametrize("percentile", ["null", "101"])
def test_a_percentile_that_is_none_is_named(option, percentile):
    with pytest.raises(ValueError, match=r"needs a percentile in \[0, 100\]"):
        protocol_of(f"protocol={option}", f"protocol.percentile={percentile}")


# 101 pixels, so that percentile p is exactly the value p: 0, 1, ..., 100 in a row.
RAMP = np.arange(101.0)[None, None]


def test_ivr_on_paper():
    protocol = replace(protocol_of("protocol=ivr"), name="mine", grid=None)
    (score_map,) = to_score_maps(RAMP, (1, 101), protocol)
    np.testing.assert_allclose(score_map[0], np.clip((np.arange(101) - 45) / 55, 0, 1), atol=1e-12)


def test_pas_on_paper():
    protocol = replace(protocol_of("protocol=pas"), name="mine", grid=None)
    (score_map,) = to_score_maps(RAMP, (1, 101), protocol)
    np.testing.assert_allclose(score_map[0], np.clip(np.arange(101) / 90, 0, 1), atol=1e-12)


def test_a_peak_no_longer_sets_the_threshold():
    # An object of 8 x 8 cells at 1 with one cell at 10, on 20 x 20: τ = 0.5 of the maximum leaves the peak alone.
    activation_map = np.zeros((1, 20, 20))
    activation_map[0, 6:14, 6:14], activation_map[0, 8, 8] = 1, 10

    def box(protocol):
        own = replace(protocol, name="mine", grid=None)
        return largest(to_score_maps(activation_map, (20, 20), own)[0], [0.5], own).at(0).tolist()

    assert box(REFERENCE) == [[8, 8, 10, 10]]  # one pixel wider: the far edge is inclusive
    assert box(protocol_of("protocol=pas")) == [[6, 6, 15, 15]]
