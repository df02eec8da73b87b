"""Request parameters and response bodies; the manifest is the same for the service and for the command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from unmingle.model.abilities import UNCOUNTED
from unmingle.model.options import MAX_SOURCES, Background, Channels, MaskKind, Quality, SeparationOptions, Spatial

Format = Literal["wav", "flac", "ogg", "mp3", "m4a"]
Subtype = Literal["FLOAT", "PCM_16", "PCM_24", "VORBIS", "OPUS", "MP3", "AAC"]


class Body(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


JobState = Literal["queued", "running", "done", "failed"]


class ResultParameters(Body):
    """In which form the stems are sent."""

    format: Format = Field("wav", description="File format of the stems.")
    subtype: Subtype | None = Field(
        None,
        description="Sample type: FLOAT (default), PCM_16 or PCM_24 for wav; PCM_24 (default) or PCM_16 for flac; "
        "VORBIS (default) or OPUS for ogg; MP3 for mp3; AAC for m4a. PCM saturates beyond full scale; "
        "the manifest counts it.",
    )
    stem: int | None = Field(
        None,
        ge=1,
        le=MAX_SOURCES + 1,
        description="As audio/wav, the only stem to send, where the background comes after the others; else all side "
        "by side.",
    )


class SeparateParameters(ResultParameters):
    """How to separate. Given as query parameters or as form fields; a form field wins."""

    num_sources: Annotated[int, Field(ge=1, le=MAX_SOURCES)] | Literal["auto"] | None = Field(
        None,
        description="Sounds to separate the recording into; auto has them counted. By default they are counted if the "
        f"model was taught to, else there are {UNCOUNTED}.",
    )
    min_sources: int = Field(1, ge=1, le=MAX_SOURCES, description="The fewest that counting may find.")
    max_sources: int = Field(MAX_SOURCES, ge=1, le=MAX_SOURCES, description="The most that counting may find.")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Decides the starts of the clustering; same seed, same stems.")
    masks: MaskKind = Field("soft", description="Soft masks sound better; hard ones are the paper's.")
    background: Background | None = Field(
        None,
        description="What becomes of noise, music under speech and hum: a stem of their own (stem), left in the stems "
        "(share), or left out (drop). By default stem with a model that was taught what background is, else share.",
    )
    residual: bool = Field(default=False, deprecated=True, description="The former name of background=stem.")
    mono: bool = Field(False, description="Mix all channels down to one first.")
    channels: Channels = Field(
        "keep",
        description="keep gives every stem all channels, mono their mean, reference the one with the least "
        "reverberation and noise. separate separates each channel on its own, for a person on each or for channels "
        "that cancel; stems are numbered by channel, and silent in all but their own.",
    )
    spatial: Spatial = Field(
        "auto",
        description="auto uses where sounds come from, where the channels of a recording differ; off masks all "
        "channels alike.",
    )
    enhance: bool = Field(
        False,
        description="Where channels are used together, clean the stems further; they then do not add up to the "
        "recording.",
    )
    quality: Quality = Field(
        "fast",
        description="high has a refiner make the masks better, in more than twice the time. Only with models that have "
        "one (/models says so), and with soft masks.",
    )
    track: int | None = Field(
        None, ge=1, le=99, description="Which audio track of a file with several; by default the first."
    )
    model: str | None = Field(
        None, max_length=200, description="Name or hash of the model that must be the one to do it; see /models."
    )

    @field_validator("channels", mode="before")
    @classmethod
    def _former_channels(cls, value: object) -> object:
        return "keep" if value == "together" else value

    @property
    def options(self) -> SeparationOptions:
        """The options for the separator."""
        return SeparationOptions(
            num_sources=self.num_sources,
            min_sources=self.min_sources,
            max_sources=self.max_sources,
            seed=self.seed,
            mask_kind=self.masks,
            channels=self.channels,
            spatial=self.spatial,
            enhance=self.enhance,
            quality=self.quality,
            background="stem" if self.__dict__["residual"] and self.background is None else self.background,
        )


class ModelEntry(Body):
    """Which model it was."""

    name: str
    hash: str = Field(description="First 12 hex digits of the SHA-256 of the model's file.")


class StretchEntry(Body):
    """A time in which a stem is heard."""

    start_s: float
    end_s: float


class StemEntry(Body):
    """One stem."""

    file: str = Field(examples=["stem_1.wav"])
    energy_share: float = Field(description="Its part of the summed energy of all stems; 0 where all is silence.")
    confidence: float = Field(description="0 to 1: how pure it is likely to be.")
    active: list[StretchEntry] = Field(description="When it is heard.")
    clipped_samples: int = Field(description="Samples that PCM could not hold and that were set to full scale.")
    channel: int | None = Field(
        default=None, description="With channels=separate, the channel that it is a stem of, from 1."
    )


class SpatialEntry(Body):
    """How several channels were used together."""

    channels: list[int] = Field(description="Which ones said where sounds come from, from 1.")
    expected_gain_db: float = Field(
        description="How much less of the recording is in doubt than by one channel's masks: the model's own estimate."
    )
    enhanced: bool = Field(description="Whether stems were cleaned further, and do not add up to the recording.")
    heard: int | None = Field(None, description="The channel that the network heard, from 1; null for all together.")


class Manifest(Body):
    """What was done to a recording: manifest.json beside the stems."""

    unmingle_version: str
    recording: str | None = Field(default=None, description="Name of the recording's file, where the command wrote it.")
    model: ModelEntry
    sample_rate: int = Field(description="Hz, the recording's own.")
    channels: int
    samples: int = Field(description="Per channel.")
    seconds: float
    num_sources: int
    count_chance: float | None = Field(
        None, description="How sure the number of sources is, 0 to 1; null where it was given."
    )
    seed: int
    masks: MaskKind
    quality: Quality = "fast"
    format: Format
    subtype: Subtype
    stems: Sequence[StemEntry] = Field(description="Loudest first.")
    background: str | None = Field(description="File of the background, where it has one of its own.")
    spatial: SpatialEntry | None = Field(None, description="null where all channels were masked alike.")
    reference: int | None = Field(None, description="With channels=reference, the channel of the stems, from 1.")
    background_mode: Background = Field("share", description="What became of the background: stem, share or drop.")
    stage_seconds: dict[str, float] = Field(description="Wall time by stage.")
    warnings: list[str] = Field(description="What a listener should know, such as a file that breaks off.")

    @model_validator(mode="before")
    @classmethod
    def _former_name(cls, fields: object) -> object:
        """Jobs that an earlier version finished call the background a residual."""
        if isinstance(fields, dict) and "residual" in fields:
            fields = dict(fields)
            fields["background"] = fields.pop("residual")
            fields["background_mode"] = "stem" if fields["background"] else "share"
        return fields


class StemWithAudio(StemEntry):
    """One stem, and its file."""

    audio_base64: str = Field(description="The file, in base64.")


class ManifestWithAudio(Manifest):
    """The answer to Accept: application/json."""

    stems: Sequence[StemWithAudio] = Field(description="Loudest first.")
    background_audio_base64: str | None = Field(None, description="The background's file, in base64.")


class QueueState(Body):
    """The engine's load."""

    waiting: int
    running: int
    audio_seconds: float = Field(description="Of all recordings that wait or run.")


class Health(Body):
    """State of the server."""

    status: Literal["ok", "starting", "draining", "failed"]
    model: ModelEntry
    provider: str = Field(description="Execution provider that the session really uses.")
    fallback: str | None = Field(description="Why device=auto runs on the CPU; null on a GPU, or where it was chosen.")
    version: str
    uptime_s: float
    queue: QueueState
    jobs: str | None = Field(None, description="Why jobs are neither taken nor known just now; null where they are.")


class JobStatus(Body):
    """A job."""

    id: str
    state: JobState
    position: int = Field(description="Jobs before it; 0 once it runs.")
    progress: float = Field(description="0 to 1.")
    time_left_s: float | None = Field(description="Estimated until it is done; null where not known yet.")
    audio_seconds: float | None
    created: str = Field(description="UTC.")
    expires_in_s: float | None = Field(description="Until a finished job is deleted.")
    problem: dict[str, Any] | None = Field(description="Why it failed, or what it waits for apart from its turn.")
    result: str | None = Field(description="Where the stems are, once it is done.")


class ModelDetail(ModelEntry):
    """A model that can be asked for."""

    sample_rate: int = Field(description="Hz at which the network hears; recordings of every rate are taken.")
    max_sources: int
    max_channels: int
    qualities: list[Quality] = Field(description="What quality can be: high, too, where there is a refiner.")
    default: bool


class ModelList(Body):
    """All of them."""

    models: list[ModelDetail]


class ProblemBody(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=["urn:unmingle:problem:file_missing"])
    title: str
    status: int
    detail: str = Field(description="What was wrong, what is expected, what to do.")
    code: str = Field(description="Stable name of the problem, for programs.")
    request_id: str


class RecordingParameters(Body):
    """How a recording is read that is kept. Given as query parameters or as form fields; a form field wins."""

    seed: int = Field(0, ge=0, le=2**63 - 1, description="Decides the starts of all clustering; same seed, same stems.")
    mono: bool = Field(False, description="Mix all channels down to one first.")
    track: int | None = Field(None, ge=1, le=99, description="Which audio track of a file with several.")


class NumberEntry(Body):
    """What a recording looks like as so many sounds."""

    num_sources: int
    chance: float | None = Field(description="That there are so many, 0 to 1; null where the model cannot count.")
    clarity: float = Field(description="How clear the least clear of them would be, 0 to 1.")
    centroids: list[list[float]] = Field(description="Of each sound, its embedding; length 1.")


class KeptRecordingBody(Body):
    """A recording that is kept."""

    id: str
    sample_rate: int = Field(description="Hz, the recording's own.")
    channels: int
    samples: int = Field(description="Per channel.")
    seconds: float
    expires_in_s: float = Field(description="Until it is deleted, unless it is used before.")
    num_sources: int = Field(description="The likeliest number of sounds.")
    numbers: list[NumberEntry] = Field(description="1, 2, 3... sounds.")
    frame_s: float = Field(description="Seconds from one frame to the next.")
    band_hz: list[float] = Field(description="Centre of each band.")
    warnings: list[str]


class Selection(Body):
    """A part of a recording, in time and pitch."""

    start_s: float = Field(0.0, ge=0)
    end_s: float = Field(1e9, ge=0)
    low_hz: float = Field(0.0, ge=0)
    high_hz: float = Field(1e6, ge=0)


class SeparationRequest(Body):
    """Which sounds of a kept recording are wanted: a number of them, or those of some centroids."""

    num_sources: int | None = Field(None, ge=1, le=MAX_SOURCES)
    centroids: list[Annotated[list[float], Field(min_length=1, max_length=256)]] | None = Field(
        None, min_length=1, max_length=2 * MAX_SOURCES, description="Embeddings, one for each sound; see groups."
    )
    groups: list[Annotated[int, Field(ge=0, lt=MAX_SOURCES)]] | None = Field(
        None, min_length=1, max_length=2 * MAX_SOURCES, description="Which sound each centroid belongs to, from 0."
    )
    selection: Selection | None = Field(
        None, description="The sounds are heard in this part only; the rest is background."
    )
    masks: MaskKind = "soft"
    background: Background | None = None
    channels: Literal["keep", "mono", "reference"] = Field(
        "keep", description="Which channels stems have: all of the recording, their mean, or the best one."
    )
    spatial: Spatial = Field("auto", description="Whether to use where sounds come from, where channels differ.")
    enhance: bool = Field(
        False, description="Where channels are used together, clean the stems further; see POST /separate."
    )
    quality: Quality = Field("fast", description="Whether a refiner makes the masks better; see POST /separate.")


class SeparationBody(Body):
    """A separation of a kept recording."""

    id: str
    manifest: Manifest
    centroids: list[list[float]] = Field(description="They were made with these.")
    sources: list[int] = Field(description="Of each stem, the number of its sound among centroids or groups, from 0.")


class PointsBody(Body):
    """A sample of the bins that are heard; arrays are in base64, little-endian."""

    count: int
    dim: int
    frames: str = Field(description="uint32: frame of each point.")
    bands: str = Field(description="uint16: band of each point.")
    weights: str = Field(description="float32: how loud each is; the loudest is 1.")
    embeddings: str = Field(description="int8, dim for each point, 127 is 1.")


class JobPointsBody(PointsBody):
    """A sample of the bins that are heard in a job's recording, and what it takes to draw a map of them."""

    centroids: list[list[float]] = Field(description="Of each sound, its embedding; length 1.")
    sources: list[int] = Field(description="Of each stem, the number of its sound among centroids, from 0.")
    frame_s: float = Field(description="Seconds from one frame to the next.")
    band_hz: list[float] = Field(description="Centre of each band.")


class PeaksBody(Body):
    """A waveform's outline."""

    scale: float = Field(description="The largest sample; 127 in the lists.")
    low: list[int] = Field(description="-127 to 127: the smallest sample of each part.")
    high: list[int] = Field(description="-127 to 127: the largest.")
