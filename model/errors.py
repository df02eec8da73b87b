"""Every error the library raises on purpose, so that a caller can catch one base class.

UnmingleError
├── InputError           the recording or an argument is not usable; nothing is wrong with the installation
│   ├── AudioError       the samples: empty, not finite, wrong shape, unreadable
│   │   └── FileError    an audio file: not one we read, damaged, or with more channels than we take
│   ├── LimitError       the recording or the request is larger than a stated limit
│   └── ParameterError   an argument is outside its range
└── ModelError           the model file is missing, damaged, or not one of ours
    └── ProviderError    the execution provider that was asked for is not to be had
"""

from __future__ import annotations

from collections.abc import Mapping


class UnmingleError(Exception):
    """Base of all errors that this project raises on purpose."""


class InputError(UnmingleError):
    """What the caller handed in cannot be separated; the message says what was wrong and what is expected."""


class AudioError(InputError):
    """The samples are empty, not finite, of a wrong shape, or not readable as audio."""


class FileError(AudioError):
    """An audio file cannot be used.

    Attributes:
        code: the stable name of the reason, which the service also gives: format_unsupported, audio_unreadable ...
        facts: numbers that belong to it, such as a limit and what was given.
    """

    def __init__(self, code: str, message: str, facts: Mapping[str, int | float] | None = None) -> None:
        super().__init__(message)
        self.code, self.facts = code, dict(facts or {})


class LimitError(InputError):
    """The recording or the request is larger than a stated limit."""


class ParameterError(InputError):
    """An argument is outside its range."""


class ModelError(UnmingleError):
    """The model file is missing, damaged, or not a model of this project."""


class ProviderError(ModelError):
    """The execution provider that was asked for is not available."""
