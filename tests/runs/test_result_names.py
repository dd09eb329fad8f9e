import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from wsol.runs.result_names import result_name


def test_a_name_is_read_and_stays(tmp_path):
    assert result_name(tmp_path, "cub-resnet50", "tight", "a") == "cub-resnet50/tight"
    assert result_name(tmp_path, "cub-resnet50", "tight", "b") == "cub-resnet50/tight-2"
    assert result_name(tmp_path, "cub-resnet50", "reference", "c") == "cub-resnet50/reference"
    assert result_name(tmp_path, "cub-resnet50", "tight", "a") == "cub-resnet50/tight"
    assert json.loads((tmp_path / "names.json").read_text())["b"] == "cub-resnet50/tight-2"


def test_names_asked_for_together_differ(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda key: result_name(tmp_path, "cub", "tight", str(key % 5)), range(40)))
    assert len(set(names)) == 5
    assert names[:5] == names[5:10]


@pytest.mark.parametrize("written", ["../../x", "a/../b", "", "a//b", 3])
def test_a_name_that_leads_elsewhere_is_refused(written, tmp_path):
    (tmp_path / "names.json").write_text(json.dumps({"a": written}))
    if written == 3:
        assert result_name(tmp_path, "cub", "tight", "a") == "3"
    else:
        with pytest.raises(ValueError, match="name"):
            result_name(tmp_path, "cub", "tight", "a")
    with pytest.raises(ValueError, match="name"):
        result_name(tmp_path, "../cub", "tight", "a")
