import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from wsol.runs.head_name import HeadName, file_name, option_name, read_option, value_text

NAMES = {
    "gap": HeadName("gap"),
    "top_k": HeadName("top_k"),
    "gmp_on_scores": HeadName("gmp", on_scores=True),
    "gap_tested_as_gmp": HeadName("gap", tested_as="gmp"),
    "lse:sharpness=5": HeadName("lse:sharpness=5"),
    "lse:sharpness=5:learned=True_on_scores_tested_as_top_k:k=3+cutmix:alpha=0.5": HeadName(
        "lse:sharpness=5:learned=True", True, "top_k:k=3", "cutmix:alpha=0.5"
    ),
}
OVERRIDES = {
    "gap": ["pooling=gap"],
    "gmp_on_scores": ["pooling=gmp", "pool_site=scores"],
    "lse:sharpness=5+has:drop_rate=0.3": [
        "pooling=lse",
        "pooling.sharpness=5",
        "method=has",
        "method.drop_rate=0.3",
    ],
    "gap_tested_as_lse:sharpness=2": ["pooling=gap", 'pooling_at_test="lse:sharpness=2"'],
}


@pytest.mark.parametrize(("text", "head"), NAMES.items())
def test_a_name_is_written_and_read(text, head):
    assert str(head) == text
    assert HeadName.read(text) == head


@pytest.mark.parametrize(("text", "words"), OVERRIDES.items())
def test_what_a_command_says(text, words):
    assert HeadName.read(text).overrides() == words


@pytest.mark.parametrize("words", OVERRIDES.values())
def test_hydra_reads_what_a_command_says(words):
    parser = OverridesParser.create()
    read = {one.key_or_group: one.value() for one in parser.parse_overrides(words)}
    assert len(read) == len(words)
    if "pooling_at_test" in read:
        assert str(read["pooling_at_test"]) == "lse:sharpness=2"


def test_max_pooling_of_features_and_of_scores_never_share_a_name():
    assert str(HeadName("gmp")) != str(HeadName("gmp", on_scores=True))


def test_settings_are_named_where_they_are_not_the_files_own():
    usual = {"_target_": "wsol.networks.pooling.lse.LSE", "sharpness": 3.0, "learned": False}
    assert option_name("lse", usual, usual) == "lse"
    assert option_name("lse", {**usual, "sharpness": 5.0}, usual) == "lse:sharpness=5"
    assert option_name("lse", {**usual, "further": 1}, usual) == "lse:further=1"
    assert option_name("lse", {**usual, "learned": None}, usual) == "lse:learned=null"


def test_a_float_is_named_in_the_fewest_digits_that_give_it_back():
    texts = {5.0: "5", 0.3: "0.3", 1e-6: "1e-06", 0.12345678: "0.12345678", 2.5e7: "2.5e07", None: "null"}
    assert [value_text(value) for value in texts] == list(texts.values())
    assert [value_text(value, exact=True) for value in (1.0, 1, 0.5)] == ["1.0", "1", "0.5"]


@pytest.mark.parametrize("value", [2.5e7, 1e-6, 1e300, 0.1 + 0.2, 5.0])
def test_a_float_comes_back_from_the_name_and_the_command(value):
    head = HeadName("gap", method=option_name("has", {"drop_rate": value}, {}))
    assert HeadName.read(str(head)) == head
    (read,) = OverridesParser.create().parse_overrides(head.overrides()[2:])
    assert read.value() == value


def test_one_cell_and_all_of_them_have_two_names():
    usual = {"k": 0.1}
    assert option_name("top_k", {"k": 1}, usual, exact={"k"}) == "top_k:k=1"
    assert option_name("top_k", {"k": 1.0}, usual, exact={"k"}) == "top_k:k=1.0"
    assert option_name("top_k", {"k": 1}, {"k": 1.0}, exact={"k"}) == "top_k:k=1"


@pytest.mark.parametrize("value", ["a:b", "a+b", "a_tested_as_b", "a_on_scores", {"a": 1}])
def test_a_value_that_reads_as_another_part_of_the_name_is_refused(value):
    with pytest.raises(ValueError, match=r"fill=.* of erasing cannot stand in the head's name"):
        option_name("erasing", {"fill": value}, {"fill": "random"})
    assert option_name("erasing", {"fill": value}, {"fill": value}) == "erasing"  # not in the name


def test_an_option_without_a_value_is_refused():
    assert read_option("lse:sharpness=5:learned=true") == ("lse", {"sharpness": "5", "learned": "true"})
    with pytest.raises(ValueError, match="'lse:sharpness' must be an option"):
        read_option("lse:sharpness")


def test_a_folders_name_is_one_on_every_system():
    assert file_name("lse:sharpness=5_on_scores+has") == "lse-sharpness=5_on_scores+has"
    assert file_name("a:b=[1, 2]") == "a-b=-1-2-"
