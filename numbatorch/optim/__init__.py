"""Optimizers with PyTorch's names and formulas. Layer 8."""

from numbatorch.nn.utils.clip_grad import clip_grad_norm_
from numbatorch.optim.optimizers import SGD, AdamW, Optimizer

__all__ = ["SGD", "AdamW", "Optimizer", "clip_grad_norm_"]
