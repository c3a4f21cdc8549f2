"""Linear algebra under PyTorch's names."""

from numbatorch.ops.families import namespace

__getattr__, __dir__ = namespace("linalg", globals())
