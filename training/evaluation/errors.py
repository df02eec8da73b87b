"""What the evaluation raises on purpose; the message is shown to the user as it stands."""

from unmingle.model.errors import UnmingleError


class EvaluationError(UnmingleError):
    """A list or an option cannot be evaluated with; the message says why and what to do."""
