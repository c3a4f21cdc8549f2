"""Functions of tensors under PyTorch's names: layers without state, losses, activations."""

from numbatorch.ops.families import namespace

__getattr__, __dir__ = namespace("nn.functional", globals())
