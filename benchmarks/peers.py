"""Separators of other projects, with random weights: speed does not depend on those. 8 kHz, two sources, in memory.

They are no dependency of ours. Some of what they import is only for loading and saving files, and has no build for
every machine; where torchaudio is missing, an empty stand-in lets them load.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any
from unittest.mock import MagicMock

from unmingle.model.threads import usable_cores

RATE = 8_000
HOW_TO = "pip install --no-deps asteroid==0.7.0 asteroid-filterbanks==0.4.0 speechbrain==1.1.2, and what they ask for."

Separate = Callable[[Any], Any]


def installed() -> list[str]:
    """Names of those that can be run here."""
    names = []
    if importlib.util.find_spec("asteroid"):
        names += ["Conv-TasNet", "SuDORM-RF", "DPRNN"]
    if importlib.util.find_spec("speechbrain"):
        names.append("SepFormer")
    return names


def run(name: str, seconds: float) -> dict[str, float]:
    """Separate noise of so many seconds once; wall seconds."""
    import torch

    separate = _made(name)
    noise = torch.randn(1, round(seconds * RATE))
    with torch.no_grad():
        start = time.perf_counter()
        separate(noise)
        return {"wall_s": time.perf_counter() - start}


@cache
def _made(name: str) -> Separate:
    import torch

    torch.set_num_threads(usable_cores())
    if "torchaudio" not in sys.modules and importlib.util.find_spec("torchaudio") is None:
        for module in ("", ".transforms", ".functional", ".compliance", ".compliance.kaldi", ".backend"):
            sys.modules["torchaudio" + module] = _stand_in("torchaudio" + module)
    return _sepformer() if name == "SepFormer" else _of_asteroid(name)


def _stand_in(name: str) -> MagicMock:
    module = MagicMock(name=name, __path__=[], __version__="2.11.0", __spec__=None)
    module.list_audio_backends.return_value = ["soundfile"]
    return module


def _of_asteroid(name: str) -> Separate:
    from asteroid import models

    kind = {"Conv-TasNet": "ConvTasNet", "SuDORM-RF": "SuDORMRFNet", "DPRNN": "DPRNNTasNet"}[name]
    network: Separate = getattr(models, kind)(2, sample_rate=RATE).eval()
    return network


def _sepformer() -> Separate:
    """The configuration that was published for WSJ0-2mix."""
    import torch
    from speechbrain.lobes.models import dual_path

    def transformer() -> Any:
        return dual_path.SBTransformerBlock(
            num_layers=8, d_model=256, nhead=8, d_ffn=1024, use_positional_encoding=True, norm_before=True
        )

    encoder = dual_path.Encoder(kernel_size=16, out_channels=256, in_channels=1).eval()
    decoder = dual_path.Decoder(256, 1, kernel_size=16, stride=8, bias=False).eval()
    masks = dual_path.Dual_Path_Model(
        256,
        256,
        transformer(),
        transformer(),
        num_layers=2,
        norm="ln",
        K=250,
        num_spks=2,
        skip_around_intra=True,
        linear_layer_after_inter_intra=False,
    ).eval()

    def separate(mixture: Any) -> Any:
        heard = encoder(mixture)
        return torch.stack([decoder(heard * mask) for mask in masks(heard)])

    return separate
