"""Answers as they come, for OpenAPI: made of the real bodies, so that they cannot go out of date."""

from __future__ import annotations

from unmingle.service.schemas import (
    Health,
    JobPointsBody,
    JobStatus,
    KeptRecordingBody,
    Manifest,
    ManifestWithAudio,
    ModelDetail,
    ModelEntry,
    ModelList,
    NumberEntry,
    PeaksBody,
    PointsBody,
    QueueState,
    SeparationBody,
    StemWithAudio,
    StretchEntry,
)

_MODEL = ModelEntry(name="unmingle-6", hash="bc626444d48e")
_JOB_ID = "mJ0Qd4T6yZ3o1c8fVx2b9A"

MANIFEST = ManifestWithAudio(
    unmingle_version="0.1.0",
    model=_MODEL,
    sample_rate=16_000,
    channels=1,
    samples=80_000,
    seconds=5.0,
    num_sources=1,
    count_chance=None,
    seed=0,
    masks="soft",
    format="wav",
    subtype="FLOAT",
    stems=[
        StemWithAudio(
            file="stem_1.wav",
            energy_share=1.0,
            confidence=0.93,
            active=[StretchEntry(start_s=0.1, end_s=4.8)],
            clipped_samples=0,
            channel=None,
            audio_base64="UklGRg==",
        )
    ],
    background=None,
    spatial=None,
    reference=None,
    background_mode="stem",
    background_audio_base64=None,
    stage_seconds={"decode": 0.08, "embed": 0.05, "cluster": 0.01},
    warnings=[],
)

MANIFEST_ALONE = Manifest.model_validate(
    {
        **MANIFEST.model_dump(exclude={"background_audio_base64"}),
        "stems": [stem.model_dump(exclude={"audio_base64"}) for stem in MANIFEST.stems],
    }
)

QUEUED = JobStatus(
    id=_JOB_ID,
    state="queued",
    position=1,
    progress=0.0,
    time_left_s=42.5,
    audio_seconds=3600.0,
    created="2026-01-31T12:00:00Z",
    expires_in_s=None,
    problem=None,
    result=None,
)

DONE = QUEUED.model_copy(
    update={
        "state": "done",
        "position": 0,
        "progress": 1.0,
        "time_left_s": None,
        "expires_in_s": 86_390.0,
        "result": f"/jobs/{_JOB_ID}/result",
    }
)

HEALTH = Health(
    status="ok",
    model=_MODEL,
    provider="CPUExecutionProvider",
    fallback=None,
    version="0.1.0",
    uptime_s=3600.5,
    queue=QueueState(waiting=1, running=1, audio_seconds=65.0),
    jobs=None,
)

STARTING = HEALTH.model_copy(update={"status": "starting", "queue": QueueState(waiting=0, running=0, audio_seconds=0)})

MODELS = ModelList(
    models=[
        ModelDetail(
            **_MODEL.model_dump(), sample_rate=16_000, max_sources=8, max_channels=8, qualities=["fast"], default=True
        )
    ]
)

_ONE = [1.0, 0.0, 0.0]

KEPT = KeptRecordingBody(
    id=_JOB_ID,
    sample_rate=16_000,
    channels=1,
    samples=80_000,
    seconds=5.0,
    expires_in_s=3600.0,
    num_sources=1,
    numbers=[NumberEntry(num_sources=1, chance=0.97, clarity=0.9, centroids=[_ONE])],
    frame_s=0.008,
    band_hz=[0.0, 31.25, 62.5],
    warnings=[],
)

SEPARATION = SeparationBody(id="x2b9A0cQd4U", manifest=MANIFEST_ALONE, centroids=[_ONE], sources=[0])

POINTS = PointsBody(count=1, dim=3, frames="AAAAAA==", bands="AQA=", weights="AACAPw==", embeddings="fwAA")

JOB_POINTS = JobPointsBody(
    **POINTS.model_dump(), centroids=[_ONE], sources=[0], frame_s=0.008, band_hz=[0.0, 31.25, 62.5]
)

PEAKS = PeaksBody(scale=0.71, low=[-90, -127], high=[88, 120])
