"""The embedding network made ready for 8 bits (torch): the range of every activation is the same, whatever is heard.

ONNX Runtime's 8-bit LSTM and matrix product choose the scale of their input from the smallest and the largest number in
it, over everything that runs together: all segments of a batch, and, within the LSTM, the states of all of them at each
step. What one recording sounds like would then decide how another one's numbers are rounded. Here every such input
carries both ends of its range as constants, *anchors*, so that the scale is always the same:

- Features are standardised, limited to `FEATURE_RANGE` of their deviations, and get two columns that hold its ends.
- Every layer and direction gets two more cells whose state is 1 and -1 at all times: their forget and output gates are
  open, their input gate is shut, and their memory starts so full that its tanh is 1. No other cell's state is larger.

Nothing reads the anchors: their columns of all weights are zero. In float32 the network is the one that it was.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network import BlstmNet

FEATURE_RANGE = 8.0
"""In standard deviations; speech, music and noise stay within 5, a single click in silence just reaches 7."""

_ANCHORS = 2
_OPEN = 30.0
"""Input of a gate that the sigmoid makes 1 to float32 precision."""
_FULL = 20.0
"""Memory of a cell that tanh makes 1 to float32 precision."""


class AnchoredNet(nn.Module):
    """`BlstmNet` with anchors; the same embeddings to float32 rounding. For export only."""

    mean: Tensor
    deviation: Tensor
    edges: Tensor
    state: Tensor

    def __init__(self, network: BlstmNet) -> None:
        super().__init__()
        self.config = config = network.config
        hidden = config.hidden + _ANCHORS
        self.register_buffer("mean", network.mean.detach().clone())
        self.register_buffer("deviation", network.deviation.detach().clone())
        self.register_buffer("edges", torch.tensor([FEATURE_RANGE, -FEATURE_RANGE]))
        state = torch.zeros(2 * config.layers, 1, hidden)
        state[..., -2], state[..., -1] = 1.0, -1.0
        self.register_buffer("state", state)
        self.lstm = nn.LSTM(
            network.lstm.input_size + _ANCHORS, hidden, config.layers, batch_first=True, bidirectional=True
        )
        self.head = nn.Linear(2 * hidden, network.head.out_features)
        with torch.no_grad():
            _fill_lstm(self.lstm, network.lstm)
            self.head.weight.zero_()
            _cells(self.head.weight, 1, 2, hidden)[:, :, :-_ANCHORS] = _cells(network.head.weight, 1, 2, config.hidden)
            self.head.bias.copy_(network.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bands) -> unit-norm (batch, frames, bands, dim), as `BlstmNet`."""
        c = self.config
        x = ((features - self.mean) / self.deviation).clamp(-FEATURE_RANGE, FEATURE_RANGE)
        x = x.reshape(x.shape[0], -1, c.frames_per_step * c.bands)
        x = torch.cat((x, self.edges.expand(x.shape[0], x.shape[1], _ANCHORS)), dim=-1)
        state = self.state.expand(-1, x.shape[0], -1)
        x, _ = self.lstm(x, (state.contiguous(), (_FULL * state).contiguous()))
        v: Tensor = self.head(x)
        v = v.reshape(v.shape[0], -1, c.bands, c.embedding_dim)
        return functional.normalize(v.float(), dim=-1)


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


def _cells(weight: Tensor, axis: int, directions: int, hidden: int) -> Tensor:
    """A view of `weight` whose `axis`, the last one, is split into (direction, cell)."""
    return weight.view(*weight.shape[:axis], directions, hidden)
