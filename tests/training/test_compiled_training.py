import warnings

import pytest
import torch

from networks import tiny_classifier
from tests.training.test_train import Stripes, run, weights
from wsol.networks.pooling.gap import GAP
from wsol.networks.pooling.gmp import GMP
from wsol.training.train import TrainSettings

pytestmark = pytest.mark.slow
SETTINGS = TrainSettings(epochs=3, batch_size=8, lr=1e-2, select="best")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about this machine
        yield
    torch.compiler.reset()


def test_it_learns_what_is_learned_without_and_leaves_the_classifier_as_it_was(tmp_path):
    plain, compiled = tiny_classifier(GMP(), 2), tiny_classifier(GMP(), 2)
    given = {"dataset": Stripes(count=22), "validation": Stripes(size=16)}  # a last batch of 6
    expected = run(plain, SETTINGS, **given)
    names = list(compiled.state_dict())
    found = run(compiled, SETTINGS, compile=True, checkpoint=tmp_path / "c.ckpt", **given)
    assert [one["loss"] for one in found] == pytest.approx([one["loss"] for one in expected], rel=1e-3)
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-2, atol=1e-3)
    assert list(compiled.state_dict()) == names == list(plain.state_dict())
    assert compiled._compiled_call_impl is None
    assert not compiled.training

    saved = torch.load(tmp_path / "c.ckpt", weights_only=True)["model"]
    assert [key for key in saved if "_orig_mod" in key] == []
    longer = TrainSettings(epochs=4, batch_size=8, lr=1e-2, select="best")
    history = run(tiny_classifier(GMP(), 2), longer, checkpoint=tmp_path / "c.ckpt", **given)  # and goes on without
    assert [one["loss"] for one in history[:3]] == [one["loss"] for one in found]


def test_the_network_is_really_compiled():
    classifier = tiny_classifier(GAP(), 2)
    torch._dynamo.utils.counters.clear()
    run(classifier, TrainSettings(epochs=1, batch_size=8))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0
    run(classifier, TrainSettings(epochs=1, batch_size=8), compile=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # what tries the compiler, and the network
    assert not torch._dynamo.utils.counters["graph_break"]


def test_a_missing_compiler_is_named_before_any_image_is_read(monkeypatch):
    # What was compiled before would be found in the cache.
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))

    class Unread(Stripes):
        def __getitem__(self, index):
            raise AssertionError

    classifier = tiny_classifier(GAP(), 2)
    with pytest.raises(RuntimeError, match=r"torch\.compile does not work on cpu .*no-such-compiler.*compile=False"):
        run(classifier, SETTINGS, Unread(), compile=True, validation=Unread())
    assert classifier._compiled_call_impl is None
