import sys
from pathlib import Path

import pytest
import torch

# For helpers like `networks`, and for `run`: importlib mode adds no folder.
sys.path[:0] = [str(Path(__file__).parent / "helpers"), str(Path(__file__).parents[1] / "benchmarks")]
torch.set_num_threads(2)


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=generator)


@pytest.fixture
def class_ids() -> torch.Tensor:
    return torch.tensor([0, 3, 1, 4])
