"""Optimizer steps beside PyTorch."""

from typing import Any

import pytest

import numbatorch as nt
from tests.compare import assert_close
from tests.peers.sides import Sides, torch

OPTIONS = [
    {},
    {"weight_decay": 0.0, "lr": 0.1},
    {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_five_adamw_steps_equal_torch(options: dict[str, Any], sides: Sides) -> None:
    pairs = [sides.normal(*shape, grad=True) for shape in ((4, 3), (7,), (1,))]
    ours = nt.optim.AdamW([pair[0] for pair in pairs], **options)
    theirs = torch.optim.AdamW([pair[1] for pair in pairs], **options)
    for _ in range(5):
        ours.zero_grad()
        theirs.zero_grad()
        for tensor, torch_tensor in pairs:
            (tensor * tensor * tensor).sum().backward()
            (torch_tensor * torch_tensor * torch_tensor).sum().backward()
        ours.step()
        theirs.step()
    for tensor, torch_tensor in pairs:
        assert_close(tensor, torch_tensor, "gradient", operator="AdamW")
