import os
import sys
from pathlib import Path

import pytest
import torch

# For helpers like `networks`, for commands, and for `tests.` itself: importlib mode adds no folder.
_ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(_ROOT / "tests" / "helpers"), str(_ROOT / "benchmarks"), str(_ROOT)]
# Under pytest-xdist each worker, and what it starts, has one thread: more would only take turns on the processors.
_threads = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
os.environ.setdefault("OMP_NUM_THREADS", str(_threads))
torch.set_num_threads(_threads)


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=generator)


@pytest.fixture
def class_ids() -> torch.Tensor:
    return torch.tensor([0, 3, 1, 4])
