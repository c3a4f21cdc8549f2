"""Optimizers with PyTorch's names and formulas. Layer 8."""

from numbatorch.optim.optimizers import SGD, AdamW, Optimizer, clip_grad_norm_

__all__ = ["SGD", "AdamW", "Optimizer", "clip_grad_norm_"]
