"""The first compilation is announced, and only if it takes a while."""

import logging
import time

import pytest

from wsol.scoring import compilation


@pytest.mark.parametrize(("patience", "messages"), [(0.05, 2), (30, 0)])
def test_it_is_said_while_it_lasts(monkeypatch, caplog, patience, messages):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(compilation, "_PATIENCE", patience)
    monkeypatch.setattr(compilation, "compile_all", lambda: time.sleep(0.5))
    compilation.compile_engine.__wrapped__()
    assert len(caplog.messages) == messages
    if messages:
        assert caplog.messages[0].startswith("Compiling the scoring engine")
        assert caplog.messages[1].startswith("Compiled in")
