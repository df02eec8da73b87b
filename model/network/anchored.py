"""Embedding networks made ready for 8 bits (torch): the range of every activation is the same, whatever is heard.

ONNX Runtime's 8-bit LSTM and matrix product choose the scale of their input from the smallest and the largest number in
it, over everything that runs together: all segments of a batch, and, within the LSTM, the states of all of them at each
step. What one recording sounds like would then decide how another one's numbers are rounded. Here every such input
carries both ends of its range as constants, *anchors*, so that the scale is always the same:

- What an LSTM reads is normalised already, by deviations or by its norm. It is limited to a range, and gets two columns
  that hold the ends of that.
- Every layer and direction gets two more cells whose state is 1 and -1 at all times: their forget and output gates are
  open, their input gate is shut, and their memory starts so full that its tanh is 1. No other cell's state is larger.

Nothing reads the anchors: their columns of all weights are zero. In float32 the network is the one that it was.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from unmingle.model.network.trunk import BlstmNet, DualPathNet, EmbeddingNet, ResidualLstm

FEATURE_RANGE = 8.0
"""In standard deviations; speech, music and noise stay within 5, a single click in silence just reaches 7."""
NORMED_RANGE = 5.0
"""Of what a LayerNorm gives, before its own factors: less than one number in a thousand is beyond it, and with a wider
range all others would have coarser steps."""

_ANCHORS = 2
_OPEN = 30.0
"""Input of a gate that the sigmoid makes 1 to float32 precision."""
_FULL = 20.0
"""Memory of a cell that tanh makes 1 to float32 precision."""


def anchored(network: EmbeddingNet) -> EmbeddingNet:
    """The same network with anchors; the same embeddings to float32 rounding within the ranges. For export only."""
    net = copy.deepcopy(network).eval()
    # Each layer is replaced by one that is called alike; torch's types know classes only.
    if isinstance(net, BlstmNet):
        net.lstm = AnchoredLstm(net.lstm, FEATURE_RANGE)  # type: ignore[assignment]
        net.head = _reading_cells(net.head, net.config.hidden)
    elif isinstance(net, DualPathNet):
        net.across_bands = nn.ModuleList(_AnchoredResidualLstm(layer) for layer in net.across_bands)  # type: ignore[arg-type]
        net.across_frames = nn.ModuleList(_AnchoredResidualLstm(layer) for layer in net.across_frames)  # type: ignore[arg-type]
    return net


class AnchoredLstm(nn.Module):
    """A bidirectional LSTM with anchors; its output has two more cells per direction, which mean nothing."""

    edges: Tensor
    state: Tensor

    def __init__(self, lstm: nn.LSTM, limit: float) -> None:
        """Args: limit: what it reads is limited to -limit..limit."""
        super().__init__()
        hidden = lstm.hidden_size + _ANCHORS
        self.limit = limit
        self.register_buffer("edges", torch.tensor([limit, -limit]))
        state = torch.zeros(2 * lstm.num_layers, 1, hidden)
        state[..., -2], state[..., -1] = 1.0, -1.0
        self.register_buffer("state", state)
        self.lstm = nn.LSTM(
            lstm.input_size + _ANCHORS, hidden, lstm.num_layers, batch_first=lstm.batch_first, bidirectional=True
        )
        with torch.no_grad():
            _fill_lstm(self.lstm, lstm)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """As nn.LSTM's, without the last state."""
        x = torch.cat((x.clamp(-self.limit, self.limit), self.edges.expand(x.shape[0], x.shape[1], _ANCHORS)), dim=-1)
        state = self.state.expand(-1, x.shape[0 if self.lstm.batch_first else 1], -1)
        y, _ = self.lstm(x, (state.contiguous(), (_FULL * state).contiguous()))
        return y, None


class _AnchoredResidualLstm(nn.Module):
    """`ResidualLstm` with anchors: the norm's own factors move into the LSTM, so that what it reads has one range."""

    def __init__(self, layer: ResidualLstm) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(layer.norm.normalized_shape, layer.norm.eps, elementwise_affine=False)
        with torch.no_grad():
            for end in ("l0", "l0_reverse"):
                weight, bias = getattr(layer.lstm, f"weight_ih_{end}"), getattr(layer.lstm, f"bias_ih_{end}")
                bias += weight @ layer.norm.bias
                weight *= layer.norm.weight
        self.lstm = AnchoredLstm(layer.lstm, NORMED_RANGE)
        self.projection = _reading_cells(layer.projection, layer.lstm.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.norm(x))
        heard: Tensor = self.projection(y)
        return x + heard


def _fill_lstm(anchored: nn.LSTM, original: nn.LSTM) -> None:
    """Copy weights into the larger LSTM, and hold the anchors. Gates come as input, forget, cell, output."""
    larger, smaller = anchored.hidden_size, original.hidden_size
    sources = dict(original.named_parameters())
    for name, target in anchored.named_parameters():
        source = sources[name]
        target.zero_()
        gates, from_gates = target.view(4, larger, -1), source.view(4, smaller, -1)
        if name.startswith("bias"):
            gates[:, :smaller] = from_gates
            if name.startswith("bias_ih"):
                gates[:, smaller:, 0] = torch.tensor([-_OPEN, _OPEN, 0.0, _OPEN])[:, None]
        elif name.startswith("weight_ih_l0"):
            gates[:, :smaller, :-_ANCHORS] = from_gates
        else:  # reads the cells of one direction (weight_hh), or of both (weight_ih of higher layers)
            directions = from_gates.shape[-1] // smaller
            _cells(gates, 2, directions, larger)[:, :smaller, :, :-_ANCHORS] = _cells(
                from_gates, 2, directions, smaller
            )


def _reading_cells(layer: nn.Linear, hidden: int) -> nn.Linear:
    """A layer that read the cells of both directions, reading as many of an anchored LSTM."""
    wider = nn.Linear(2 * (hidden + _ANCHORS), layer.out_features)
    with torch.no_grad():
        wider.weight.zero_()
        _cells(wider.weight, 1, 2, hidden + _ANCHORS)[:, :, :-_ANCHORS] = _cells(layer.weight, 1, 2, hidden)
        wider.bias.copy_(layer.bias)
    return wider


def _cells(weight: Tensor, axis: int, directions: int, hidden: int) -> Tensor:
    """A view of `weight` whose `axis`, the last one, is split into (direction, cell)."""
    return weight.view(*weight.shape[:axis], directions, hidden)
