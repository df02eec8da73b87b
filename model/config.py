"""What a trained network must know about itself: it travels inside the ONNX file and inside every checkpoint."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

from unmingle.model.errors import ModelError

Trunk = Literal["blstm", "dual_path"]

FORMAT_VERSION = 1
"""Raised when a field changes its meaning, so that an old server refuses a new file instead of misreading it."""

TAUGHT_LATER = ("count_weights", "speech_weights")
"""Fields that a finished network is taught (training/calibrate.py)."""

_AT_LEAST_ONE = (
    "sample_rate",
    "window",
    "hop",
    "high_group",
    "embedding_dim",
    "layers",
    "hidden",
    "frames_per_step",
    "channels",
    "patch_bands",
)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Signal path and network of one model.

    Frames and bins are those of the STFT: `window` samples long, a frame every `hop` samples, `window // 2 + 1`
    bins. To the network, bins up to `full_resolution_hz` are given one by one and those above in groups of
    `high_group` (speech has little harmonic structure there); what comes out of that
    grouping are bands, and every band of every frame gets one embedding.
    """

    name: str = "unnamed"
    sample_rate: int = 16_000
    """Hz at which the network hears; input at other rates is resampled for the network only."""
    window: int = 512
    """STFT window in samples (square-root Hann, analysis and synthesis)."""
    hop: int = 128
    """STFT hop in samples."""
    floor_db: float = -60.0
    """Log-magnitude features are floored this far below the segment's RMS magnitude."""
    full_resolution_hz: float = 4_000.0
    high_group: int = 4
    embedding_dim: int = 20
    """D in the paper."""
    trunk: Trunk = "blstm"
    """blstm hears all bands of a frame at once; dual_path goes over bands and over frames in turn."""
    layers: int = 2
    hidden: int = 300
    """LSTM cells per direction."""
    channels: int = 64
    """Of a dual_path network: numbers per patch."""
    patch_bands: int = 6
    """Of a dual_path network: bands of a patch, which is `frames_per_step` frames long."""
    frames_per_step: int = 2
    """Consecutive frames that the network reads and answers in one recurrent step."""
    mask_sharpness: float = 5.0
    """Soft masks are softmax(sharpness * cosine(embedding, centroid))."""
    background_sharpness: float = 0.0
    """How sharply the first axis of the embeddings tells the background from sources (model/background.py); 0 in a
    model that was not taught to."""
    count_weights: tuple[tuple[float, ...], ...] = ()
    """How unmingle.model.clustering.counting tells the number of sources; empty in a model that was not taught to."""
    speech_weights: str = ""
    """How unmingle.model.clustering.speech tells whether somebody speaks, and whether several do: float16 in base64;
    empty in a model that was not taught to."""

    def __post_init__(self) -> None:
        problems = [f"{name} must be at least 1" for name in _AT_LEAST_ONE if getattr(self, name) < 1]
        if self.hop > 0 and self.window % (2 * self.hop):
            problems.append(
                "window must be an even multiple of hop, or the square-root Hann window does not resynthesise"
            )
        if problems:
            raise ModelError("This model configuration is not usable: " + "; ".join(problems) + ".")

    @property
    def bins(self) -> int:
        """Bins of one frame."""
        return self.window // 2 + 1

    @property
    def full_resolution_bins(self) -> int:
        """Bins that are a band of their own; what is left over divides into whole groups."""
        wanted = min(self.bins, round(self.full_resolution_hz * self.window / self.sample_rate) + 1)
        return wanted + (self.bins - wanted) % self.high_group

    @property
    def bands(self) -> int:
        """Bands that the network reads and embeds."""
        return self.full_resolution_bins + (self.bins - self.full_resolution_bins) // self.high_group

    @property
    def patches(self) -> int:
        """Of a dual_path network: patches side by side, the last of which may reach beyond the bands."""
        return -(-self.bands // self.patch_bands)

    @property
    def band_starts(self) -> tuple[int, ...]:
        """First bin of each band, for sums and means over bands."""
        low = self.full_resolution_bins
        return (*range(low), *range(low, self.bins, self.high_group))

    def to_json(self) -> str:
        """The configuration as JSON, for the ONNX metadata and for checkpoints."""
        return json.dumps({"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Read what `to_json` wrote.

        Raises:
            ModelError: not JSON, another format version, or fields that this version does not know.
        """
        fields = read_fields(text, "model", FORMAT_VERSION)
        try:
            weights = tuple(tuple(map(float, row)) for row in fields.pop("count_weights", ()))
            return cls(**fields, count_weights=weights)
        except TypeError as error:
            raise ModelError(f"The model's configuration has fields this version does not know: {error}.") from error


def read_fields(text: str, what: str, version: int) -> dict[str, Any]:
    """The fields of a configuration in JSON, without its format version.

    Args:
        text: the JSON.
        what: it configures, for messages.
        version: that is understood.

    Raises:
        ModelError: not JSON, or another format version.
    """
    try:
        fields: dict[str, Any] = json.loads(text)
        found = fields.pop("format_version")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"The {what}'s configuration is not readable ({error!r}); expected the JSON that the trainer writes."
        ) from error
    if found != version:
        raise ModelError(
            f"The {what} has configuration format {found}, this version of Unmingle reads {version}: "
            f"export the {what} again, or use the Unmingle version that it was made with."
        )
    return fields
