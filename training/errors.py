"""What the trainer raises on purpose; the message is shown to the user as it stands."""

from unmingle.model.errors import UnmingleError


class TrainingError(UnmingleError):
    """A corpus, a configuration or a checkpoint cannot be trained with; the message says why and what to do."""
