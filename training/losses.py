"""Training objectives. Axes: V (batch, frame, bin, dim), Y (batch, frame, bin, source), w (batch, frame, bin).

V are unit-norm embeddings, Y one-hot memberships of the source that dominates the bin, w non-negative weights that
sum to 1 over each item (bins that do not count weigh 0). The first two are not about sound: the rows and columns of a
picture serve as well as frames and bins (examples/images). Everything is computed in float32: Gram matrices overflow in
half precision.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _weighted(V: Tensor, Y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(w) V and sqrt(w) Y in float32."""
    root = w.float().sqrt().unsqueeze(-1)
    return V.float() * root, Y.float() * root


def _product(A: Tensor, B: Tensor) -> Tensor:
    """A'B over all bins: (batch, frame, bin, m) and (batch, frame, bin, n) -> (batch, m, n).

    Frame by frame, then their sum: a GPU takes ten times as long for one product of such long and narrow matrices.
    """
    return (A.transpose(2, 3) @ B).sum(1)


def affinity(V: Tensor, Y: Tensor, w: Tensor) -> Tensor:
    """|| W^1/2 (V V' - Y Y') W^1/2 ||_F^2, the mean over the batch (Hershey et al., arXiv 1508.04306, eq. 1 and 3).

    In its low-rank form |V'WV|^2 - 2 |V'WY|^2 + |Y'WY|^2, which never makes the bins x bins matrices. With w the
    same for all active bins it is the paper's objective; with w the magnitude it is the weighted one of Wang, Le Roux
    and Hershey (ICASSP 2018, section 3.1).
    """
    V, Y = _weighted(V, Y, w)
    vv, vy, yy = _product(V, V), _product(V, Y), _product(Y, Y)
    return (vv.square().sum((1, 2)) - 2 * vy.square().sum((1, 2)) + yy.square().sum((1, 2))).mean()


def whitened_kmeans(V: Tensor, Y: Tensor, w: Tensor) -> Tensor:
    """D - tr((V'WV)^-1 V'WY (Y'WY)^-1 Y'WV), the mean over the batch (Wang et al., ICASSP 2018, eq. 8).

    The distance between the subspaces that V and Y span. From scratch it hardly learns; after affinity it does.
    """
    V, Y = _weighted(V, Y, w)
    dim = V.shape[-1]
    vv = _product(V, V) + 1e-4 * torch.eye(dim, device=V.device) / dim
    vy = _product(V, Y)
    # Y'WY is diagonal; an absent source (weight 0) then adds nothing rather than dividing by zero.
    yy = Y.square().sum((1, 2)).clamp_min(1e-6)
    explained = (torch.linalg.solve(vv, vy) * vy).sum(1) / yy
    present = (yy > 1e-6).sum(-1).clamp_max(dim)
    return (present - explained.sum(-1)).mean()


def attractor_mask(
    V: Tensor,
    Y: Tensor,
    w: Tensor,
    target: Tensor,
    mixture: Tensor,
    sharpness: float,
    steps: int = 0,
    background: Tensor | None = None,
) -> Tensor:
    """L1 between masked mixture and phase-sensitive sources, the mean over the batch: trains the soft masks themselves.

    With no steps, masks are what the separator would compute if k-means found the weighted mean of each source's
    embeddings (the attractors of Chen, Luo and Mesgarani, arXiv 1611.08930). With steps, the centroids first move from
    there as k-means without the truth would move them, and the gradient flows through that (Isik et al., "Single-
    channel multi-speaker separation using deep clustering", 2016): good masks must then be where k-means ends. The
    target is |S| cos(angle between S and X) truncated to 0..|X| (Erdogan et al., ICASSP 2015).

    Args:
        target: (batch, frame, bin, source) truncated phase-sensitive magnitudes.
        mixture: (batch, frame, bin) magnitudes |X|.
        sharpness: as ModelConfig.mask_sharpness.
        steps: of k-means, from the ideal centroids on.
        background: (batch, frame, bin) chance that the bin is the background's, as the separator takes it: it lowers
            the bin's weight in k-means, and is the mask of the last column of Y and of the target, which then is no
            cluster. Without it, all columns are clusters.
    """
    # Sources before bins, (batch, source, bins): what runs over sources is then done for many bins at once.
    V = V.float()
    if background is not None:
        Y, w = Y[..., :-1], w * (1.0 - background.detach())
    mass = w.float().flatten(1).unsqueeze(1)
    members = Y.float().flatten(1, 2).transpose(1, 2) * mass
    absent = members.sum(2) == 0
    absent = (absent & ~absent.all(1, keepdim=True)).unsqueeze(2)
    # Who belongs to whom has no gradient. All of it that there is comes through the last centroids.
    with torch.no_grad():
        for _ in range(steps):
            nearest = _similarity(V, members, absent).max(1, keepdim=True).indices  # argmax is ten times slower
            moved = torch.zeros_like(members).scatter_(1, nearest, mass)
            # A centroid that lost all its members stays where it is.
            members = torch.where(moved.sum(2, keepdim=True) > 0, moved, members)
    masks = (sharpness * _similarity(V, members, absent)).softmax(1)
    if background is not None:
        behind = background.flatten(1).unsqueeze(1)
        masks = torch.cat((masks * (1.0 - behind), behind), 1)
    heard = mixture.flatten(1)
    wanted = target.flatten(1, 2).transpose(1, 2)
    error = (masks * heard.unsqueeze(1) - wanted).abs().sum((1, 2))
    return (error / heard.sum(1).clamp_min(1e-8)).mean()


def background_logit(V: Tensor, sharpness: float) -> Tensor:
    """(batch, frame, bin): logit of the chance that a bin is the background's, as model.background takes it."""
    return sharpness * V[..., 0].float()


def background_entropy(V: Tensor, Y: Tensor, w: Tensor, sharpness: float) -> Tensor:
    """Weighted binary cross-entropy of "the background is the loudest here", the mean over the batch.

    The background has a direction of its own, the first axis of the embedding space: it has to be told from sources
    that were never heard, and without knowing how many there are, so it cannot be one more cluster.

    Args:
        Y: its last column is the background's.
    """
    logit = background_logit(V, sharpness)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, Y[..., -1].float(), w.float(), reduction="sum")
    return loss / len(V)


def _similarity(V: Tensor, members: Tensor, absent: Tensor) -> Tensor:
    """(batch, source, bins): cosine of each embedding and the centroid of each source's members."""
    by_frame = members.transpose(1, 2).reshape(*V.shape[:3], -1)
    centroids = torch.nn.functional.normalize(_product(by_frame, V), dim=-1)
    return (centroids @ V.flatten(1, 2).transpose(1, 2)).masked_fill(absent, -torch.inf)
