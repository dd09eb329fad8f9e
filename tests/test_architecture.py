"""The import arrows: each module may import what stands before it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# One layer a line, lower first; modules of one layer may import each other. A name stands for a file or a package.
LAYERS = [
    ["typed_settings"],
    ["geometry", "whole_files", "identity", "versions", "annotations", "decode", "degenerate", "strings", "head_name"],
    ["failed_runs"],
    ["voc_xml", "download", "unpack", "catalog", "missing_files"],
    ["fetch"],
    ["network_state", "token_grid", "pixels"],
    ["box_coverage", "stored_boxes", "clipping"],
    ["class_names", "truth", "protocol", "thresholds", "extent", "rank_correlation"],
    ["sample", "index", "cached_table"],
    ["image_tree", "metadata_files", "mask_digest"],
    ["image_set"],
    ["prepared_images", "links"],
    ["splits", "metadata_images"],
    ["ilsvrc", "own_data", "hub"],
    ["bird_world", "bird_drawing"],
    ["data"],
    ["backbone", "pretrained", "channel_pooling", "trunk", "class_attention"],
    ["self_guidance", "sharp_pooling"],
    ["timm_transformer", "any_network", "class_and_patches"],
    ["backbones", "pooling"],
    ["classifier"],
    ["training_method", "swapped_pooling", "two_branches"],
    ["methods"],
    ["class_gradient", "linear_head", "optimized", "self_attention"],
    ["forward_pass", "randomized_network", "input_gradient", "guided_relu", "augment", "augment_boxes"],
    ["foreign"],
    ["map_method", "pixel_map", "replay"],
    ["peer"],
    ["maps"],
    ["stored_maps"],
    ["network_outputs"],
    ["infer"],
    ["score_map", "box_ranges"],
    ["subject", "faithfulness_measure"],
    ["faithfulness", "faithfulness_pass", "theorems"],
    ["engine"],
    ["boxes"],
    ["otsu", "pointing", "pixel_scores", "pixel_record"],
    ["matching", "baselines"],
    ["compilation", "checking"],
    ["explanation", "class_units", "generic_features", "sharpness"],
    ["outcomes"],
    ["record"],
    ["localize"],
    ["tallies"],
    ["judge"],
    ["judgement_rows"],
    ["scores"],
    ["score", "resampling"],
    ["error_types", "object_groups"],
    ["diagnosis", "curves", "uncertainty", "supervision"],
    ["train"],
    ["box_training"],
    ["saliency", "box_regressor"],
    ["few_shot", "psol"],
    ["experiment", "runs"],
    ["result_names"],
    ["sources"],
    ["fit", "rehearsal"],
    ["tuning"],
    ["true_masks"],
    ["ensure"],
    ["job"],
    ["run_settings", "score_rows"],
    ["few_shot_run", "psol_run"],
    ["pipeline"],
    ["scored_maps"],
    ["measured"],
    ["comparisons"],
    ["page", "rounding", "missing"],
    ["summary"],
    ["claim"],
    ["report_table", "table_files", "page_writer"],
    ["reports", "pictures"],
    ["figure_style", "figure_files", "curve_figures", "figures", "axis_figures"],
    ["gallery", "explanation_picture", "unit_picture", "shown_images"],
    ["report_drawings"],
    ["report_section", "report_page"],
]
PLACE = {name: place for place, names in enumerate(LAYERS) for name in names}
MODULES = sorted((ROOT / "wsol").rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module


def layer(parts):
    return PLACE[Path(parts[1]).stem]


def test_every_module_has_its_place():
    found = {path.relative_to(ROOT).parts[1].removesuffix(".py") for path in MODULES} - {"__init__"}
    assert found == set(PLACE)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path):
    parts = path.relative_to(ROOT).parts
    for name in imports(path):
        top, *rest = name.split(".")
        assert top not in ("hydra", "omegaconf", "benchmarks"), (
            f"{path} imports {name}; only benchmarks/ and tests/ may"
        )
        if top == "wsol":
            assert layer(["wsol", *rest]) <= layer(parts), f"{path} imports {name}, which stands after it"


@pytest.mark.parametrize(
    "package", ["data", "backbones", "pooling", "methods", "maps", "boxes", "scores", "faithfulness"]
)
def test_option_packages_hold_nothing_but_options(package):
    assert (ROOT / "wsol" / package / "__init__.py").read_text() == ""
    for path in (ROOT / "wsol" / package).glob("*.py"):
        others = [name for name in imports(path) if name.startswith(f"wsol.{package}.")]
        # An option may build on another of its group (MaxBoxAccV2 is a mean of MaxBoxAcc), never on a hidden helper.
        assert all((ROOT / (name.replace(".", "/") + ".py")).exists() for name in others)


def test_types_follow_the_line_torch_numpy_pandas():
    for name in ("matching", "record", "thresholds", "score", "geometry", "judge", "tallies", "truth"):
        assert "torch" not in set(imports(ROOT / "wsol" / f"{name}.py"))
    for path in (path for package in ("boxes", "scores", "engine") for path in (ROOT / "wsol" / package).glob("*.py")):
        assert not {"torch", "pandas"} & set(imports(path))
