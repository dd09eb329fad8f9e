"""The outputs of a network in the order of a data set's classes."""

import pytest

from wsol.data.class_names import imagenet_classes
from wsol.data.class_order import class_order

NETWORK = ("n01 hen", "n00000002 crane, wader", "n00000003 crane, machine", "n00000004 sea snake", "n00000005 pot")


def test_wnids_come_before_names():
    data = ["n00000003 something else", "n00000002 crane"]
    assert class_order(data, NETWORK, 5) == [2, 1, 0, 3, 4]
    assert class_order(data, NETWORK, 5, "data") == [2, 1]


def test_names_and_synonyms_without_capitals_and_underscores():
    assert class_order(["Sea_Snake", "wader", "POT"], NETWORK, 5) == [3, 1, 4, 0, 2]


def test_a_part_of_imagenet():
    names = imagenet_classes()
    assert names[0] == "n01440764 tench, Tinca tinca"
    order = class_order(["n03991062 pot", "n01440764"], names, 1000)
    assert order[:2] == [738, 0]
    assert sorted(order) == list(range(1000))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            ["pot", "bird", "fish"],
            r"The network has no class 'bird', 'fish' of the data set; its classes are 'n01",
        ),
        (["crane"], "'crane' of the data set could be any of 'n00000002 crane, wader', 'n00000003 crane, machine'"),
        (["pot", "Pot"], "'pot' and 'Pot' of the data set are one class, 'n00000005 pot'"),
    ],
)
def test_classes_that_do_not_fit(data, message):
    with pytest.raises(ValueError, match=message):
        class_order(data, NETWORK, 5)


def test_without_names(caplog):
    caplog.set_level("INFO")
    assert class_order(["a", "b"], None, 2) == [0, 1]
    assert "taken for the data set's classes, in their order" in caplog.text
    assert class_order(["n03991062 pot"], None, 1000)[0] == 738
    assert "the classes of ImageNet-1k" in caplog.text
    with pytest.raises(ValueError, match=r"gives 3 logits, and the data set has 2 classes; name .*network.classes"):
        class_order(["a", "b"], None, 3)
    with pytest.raises(ValueError, match="list of classes has 1 names, and the network gives 3 logits"):
        class_order(["a"], ["a"], 3)
    with pytest.raises(ValueError, match="predict_among must be network or data, got 'all'"):
        class_order(["a"], ["a"], 1, "all")  # type: ignore[arg-type]
