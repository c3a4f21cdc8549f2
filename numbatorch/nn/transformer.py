"""Layers and stacks of the transformer, as PyTorch puts them together over `nn/attention.py`.

Letters: N batch, S tokens of the source, T tokens of the target, E size of a token.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, message
from numbatorch.nn import functional as F
from numbatorch.nn.attention import MultiheadAttention, xavier
from numbatorch.nn.containers import ModuleList
from numbatorch.nn.dropout import Dropout
from numbatorch.nn.linear import Linear
from numbatorch.nn.module import Module
from numbatorch.nn.norm import LayerNorm
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, ones, zeros
from numbatorch.tensor.creation import Where
from numbatorch.tensor.mapping import values_are_known

Activation = Callable[[Tensor], Tensor]


def _activation(owner: str, given: str | Activation) -> Activation:
    """The function of a name, or the one that is given."""
    if not isinstance(given, str):
        return given
    if given not in ("relu", "gelu"):
        problem = f"activation is 'relu', 'gelu' or a function, not {given!r}"
        raise ValueError(message(owner, problem))
    found: Activation = getattr(F, given)
    return found


def _causal_mask(size: int, device: Where, dtype: DType | None) -> Tensor:
    hidden = ones(size, size, dtype=dt.bool_, device=device).triu(1)
    if dtype is dt.bool_:
        return hidden
    return zeros(size, size, dtype=dtype, device=device).masked_fill(hidden, -float("inf"))


def _is_causal(mask: Tensor | None, told: bool | None) -> bool:
    """What is told, otherwise whether the mask is the causal one, where that can be read."""
    if told is not None or mask is None:
        return bool(told)
    if len(mask.shape) != 2 or mask.shape[0] != mask.shape[1]:
        return False
    if mask.dtype.kind != "f" and mask.dtype is not dt.bool_:
        return False
    if not values_are_known():
        return False
    return bool((mask == _causal_mask(mask.shape[0], mask.device, mask.dtype)).all())


class TransformerEncoderLayer(Module):
    """Self-attention, then two linear layers around an activation, each with a residual and a norm.

    x = norm1(x + attention(x)), then norm2(x + linear2(activation(linear1(x)))); with norm_first
    x + attention(norm1(x)) and so on.

    Args:
        d_model: E.
        nhead: heads of attention.
        dim_feedforward: size between the two linear layers.
        dropout: probability, of attention's weights, of the activation and of both branches.
        activation: "relu", "gelu" or a function of a tensor.
        batch_first: inputs are (N, S, E), not (S, N, E).
        norm_first: normalise what goes into each branch, not the sum.
        bias: of linear layers and norms.
    Raises:
        ShapeError: d_model is not a multiple of nhead.
        ValueError: the activation is an unknown word.
    Source: https://arxiv.org/abs/1706.03762

    >>> layer = TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    >>> layer(nt.randn(3, 5, 8)).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        same: dict[str, Any] = {"bias": bias, **where}
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, batch_first=batch_first, **same
        )
        self.linear1 = Linear(d_model, dim_feedforward, **same)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **same)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, **same)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, **same)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _activation("TransformerEncoderLayer", activation)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """(S, N, E), or (N, S, E) with batch_first, or (S, E); the shape stays.

        Args:
            src_mask: (S, S) or (N * nhead, S, S); True where a token is not seen, or floats that
                are added to the scores.
            src_key_padding_mask: (N, S), or (S,) without a batch; as src_mask.
            is_causal: src_mask, which has to be given, hides later tokens and no others.
        """
        x = src
        if self.norm_first:
            x = x + self._attend(self.norm1(x), src_mask, src_key_padding_mask, is_causal)
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(x + self._attend(x, src_mask, src_key_padding_mask, is_causal))
        out: Tensor = self.norm2(x + self._feed_forward(x))
        return out

    def _attend(
        self, x: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool
    ) -> Tensor:
        found, _ = self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)
        dropped: Tensor = self.dropout1(found)
        return dropped

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(self.linear1(x)))
        dropped: Tensor = self.dropout2(self.linear2(hidden))
        return dropped


class TransformerDecoderLayer(Module):
    """Self-attention, attention to an encoder's output, then two linear layers.

    Each with a residual and a norm, as of `TransformerEncoderLayer`, whose arguments it takes.

    >>> layer = TransformerDecoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    >>> layer(nt.randn(3, 4, 8), nt.randn(3, 5, 8)).shape
    (3, 4, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        same: dict[str, Any] = {"bias": bias, **where}
        heads: dict[str, Any] = {"dropout": dropout, "batch_first": batch_first, **same}
        self.self_attn = MultiheadAttention(d_model, nhead, **heads)
        self.multihead_attn = MultiheadAttention(d_model, nhead, **heads)
        self.linear1 = Linear(d_model, dim_feedforward, **same)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **same)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, **same)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, **same)
        self.norm3 = LayerNorm(d_model, eps=layer_norm_eps, **same)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _activation("TransformerDecoderLayer", activation)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The target (T, N, E), or (N, T, E) with batch_first, or (T, E), with what it attends to.

        Args:
            memory: (S, N, E), what an encoder gives; the order of dimensions is that of tgt.
            tgt_mask: (T, T) or (N * nhead, T, T), and memory_mask (T, S) or (N * nhead, T, S); True
                where a token is not seen, or floats that are added to the scores.
            tgt_key_padding_mask: (N, T), and memory_key_padding_mask (N, S); as tgt_mask.
            tgt_is_causal, memory_is_causal: the mask, which has to be given, hides later tokens
                and no others.
        """
        own = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        other = (memory_mask, memory_key_padding_mask, memory_is_causal)
        x = tgt
        if self.norm_first:
            x = x + self._attend(self.norm1(x), *own)
            x = x + self._attend_to(self.norm2(x), memory, *other)
            return x + self._feed_forward(self.norm3(x))
        x = self.norm1(x + self._attend(x, *own))
        x = self.norm2(x + self._attend_to(x, memory, *other))
        out: Tensor = self.norm3(x + self._feed_forward(x))
        return out

    def _attend(
        self, x: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool
    ) -> Tensor:
        found, _ = self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)
        dropped: Tensor = self.dropout1(found)
        return dropped

    def _attend_to(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None,
        padding: Tensor | None,
        is_causal: bool,
    ) -> Tensor:
        found, _ = self.multihead_attn(x, memory, memory, padding, False, mask, is_causal=is_causal)
        dropped: Tensor = self.dropout2(found)
        return dropped

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(self.linear1(x)))
        dropped: Tensor = self.dropout3(self.linear2(hidden))
        return dropped


def _copies(owner: str, layer: Module, count: int) -> ModuleList:
    if count < 0:
        raise ValueError(message(owner, f"num_layers {count} is negative"))
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


class TransformerEncoder(Module):
    """A stack of copies of an encoder layer, and a norm of what the last one gives.

    Where we differ from PyTorch: there are no nested tensors, so enable_nested_tensor and
    mask_check do nothing, and rows of padding are computed where PyTorch may give zeros.

    Args:
        encoder_layer: what is copied, with its values.
        norm: a module, or None.

    >>> layer = TransformerEncoderLayer(8, 2, dim_feedforward=16)
    >>> TransformerEncoder(layer, num_layers=2)(nt.randn(5, 3, 8)).shape
    (5, 3, 8)
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _copies("TransformerEncoder", encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """As `TransformerEncoderLayer`; the shape stays.

        Args:
            is_causal: whether mask hides later tokens and no others; if None it is read from the
                mask, but for within compiled functions, where saying it is faster.
        """
        causal = _is_causal(mask, is_causal)
        out = src
        for layer in self.layers:
            out = layer(
                out, src_mask=mask, is_causal=causal, src_key_padding_mask=src_key_padding_mask
            )
        return out if self.norm is None else self.norm(out)


class TransformerDecoder(Module):
    """A stack of copies of a decoder layer, and a norm of what the last one gives.

    Args:
        decoder_layer: what is copied, with its values.
        norm: a module, or None.

    >>> layer = TransformerDecoderLayer(8, 2, dim_feedforward=16)
    >>> TransformerDecoder(layer, num_layers=2)(nt.randn(4, 3, 8), nt.randn(5, 3, 8)).shape
    (4, 3, 8)
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies("TransformerDecoder", decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """As `TransformerDecoderLayer`; the shape of tgt stays.

        Args:
            tgt_is_causal: whether tgt_mask hides later tokens and no others; if None it is read
                from the mask, but for within compiled functions.
        """
        causal = _is_causal(tgt_mask, tgt_is_causal)
        out = tgt
        for layer in self.layers:
            out = layer(
                out,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=causal,
                memory_is_causal=memory_is_causal,
            )
        return out if self.norm is None else self.norm(out)


class Transformer(Module):
    """An encoder of a source and a decoder of a target that attends to what the encoder gives.

    Args:
        d_model: E.
        nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias:
            of all layers, as of `TransformerEncoderLayer`.
        custom_encoder, custom_decoder: modules in place of the stacks.
    Raises:
        ShapeError: d_model is not a multiple of nhead.
    Source: https://arxiv.org/abs/1706.03762

    >>> model = Transformer(8, 2, 1, 1, dim_feedforward=16, batch_first=True)
    >>> model(nt.randn(3, 5, 8), nt.randn(3, 4, 8)).shape
    (3, 4, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        sizes = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps)
        given: tuple[Any, ...] = (*sizes, batch_first, norm_first, bias)
        if custom_encoder is None:
            norm = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **where)
            layer = TransformerEncoderLayer(*given, **where)
            custom_encoder = TransformerEncoder(layer, num_encoder_layers, norm)
        if custom_decoder is None:
            norm = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **where)
            last = TransformerDecoderLayer(*given, **where)
            custom_decoder = TransformerDecoder(last, num_decoder_layers, norm)
        self.encoder = custom_encoder
        self.decoder = custom_decoder
        self._reset_parameters()
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """src (S, N, E) and tgt (T, N, E), or with N first, or without N; the shape of tgt stays.

        Masks are those of `TransformerEncoder` and `TransformerDecoder`.

        Raises:
            ShapeError: src and tgt differ in N, or the size of a token is not d_model.
        """
        self._check(src, tgt)
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        out: Tensor = self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )
        return out

    def _check(self, src: Tensor, tgt: Tensor) -> None:
        rows = (f"src {describe(src.node)}", f"tgt {describe(tgt.node)}")
        rank = len(src.shape)
        if rank not in (2, 3) or len(tgt.shape) != rank:
            problem = "src and tgt are both (S, E) or both of three dimensions"
            raise ShapeError(message("Transformer", problem, *rows))
        batch = 0 if self.batch_first else 1
        if rank == 3 and src.shape[batch] != tgt.shape[batch]:
            raise ShapeError(message("Transformer", "src and tgt differ in the batch", *rows))
        if not src.shape[-1] == tgt.shape[-1] == self.d_model:
            problem = f"tokens are not of size d_model {self.d_model}"
            raise ShapeError(message("Transformer", problem, *rows))

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: Where = None, dtype: DType | None = None
    ) -> Tensor:
        """(sz, sz), -inf above the diagonal, 0 elsewhere; with dtype bool True and False.

        >>> Transformer.generate_square_subsequent_mask(2)
        tensor([[0., -inf],
                [0., 0.]])
        """
        return _causal_mask(sz, device, dtype)

    def _reset_parameters(self) -> None:
        for parameter in self.parameters():
            if len(parameter.shape) > 1:
                xavier(parameter)
