import pickle

import numpy as np
import pyarrow as pa
import pytest

from wsol.data.shared_strings import Strings

WORDS = ["a", "", "größe", "n01/x y.JPEG", "🐦"]


def test_is_the_list_that_it_was_made_of():
    strings = Strings.of(WORDS)
    assert len(strings) == 5
    assert list(strings) == WORDS
    assert [strings[index] for index in range(5)] == WORDS
    assert strings[-1] == "🐦"
    assert list(strings[1:3]) == WORDS[1:3]
    with pytest.raises(IndexError):
        strings[5]


def test_selects_in_the_order_asked_for():
    assert list(Strings.of(WORDS).select(np.array([4, 0, 0]))) == ["🐦", "a", "a"]
    assert list(Strings.of(WORDS).select(np.array([], np.int64))) == []


def test_equality_goes_by_text():
    assert Strings.of(WORDS) == WORDS
    assert Strings.of(WORDS) == Strings.of(WORDS)
    assert Strings.of(["ab", "c"]) != Strings.of(["a", "bc"])
    assert Strings.of(["a"]) != ("a",)


def test_a_slice_of_an_arrow_array_is_that_slice():
    array = pa.array(WORDS, pa.large_string())[2:4]
    assert list(Strings.from_arrow(array)) == WORDS[2:4]
    assert list(Strings.from_arrow(pa.chunked_array([array, array]))) == WORDS[2:4] * 2
    assert list(Strings.from_arrow(pa.chunked_array([], pa.string()))) == []


def test_arrow_reads_the_same_memory():
    strings = Strings.of(WORDS)
    assert strings.to_arrow().buffers()[2].address == strings.data.data_ptr()


def test_a_string_that_comes_twice_is_found():
    assert Strings.of(["b", "a", "c", "a"]).twice() == "a"
    assert Strings.of(["a", "a", "b"]).twice() == "a"
    assert Strings.of(["a", "b", "c"]).twice() is None
    assert Strings.of(WORDS).twice() is None
    assert Strings.of([]).twice() is None


def test_a_string_that_two_share_is_found():
    assert Strings.of(["b", "a"]).shared(Strings.of(["c", "b", "d"])) == "b"
    assert Strings.of(["c", "b", "d"]).shared(Strings.of(["b", "a"])) == "b"
    assert Strings.of(WORDS).shared(Strings.of(["A"])) is None
    assert Strings.of([]).shared(Strings.of(WORDS)) is None


def test_survives_pickling():
    assert pickle.loads(pickle.dumps(Strings.of(WORDS))) == WORDS
