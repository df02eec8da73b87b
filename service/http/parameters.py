"""Query parameters and form fields -> how to separate."""

from __future__ import annotations

from unmingle.service.problems import Problem
from unmingle.service.schemas import ModelEntry, SeparateParameters


def with_fields(query: SeparateParameters, fields: dict[str, str], model: ModelEntry) -> SeparateParameters:
    """The query's parameters with those of the form over them.

    Raises:
        ValidationError: a field is not valid.
        Problem: another model is asked for than `model`.
    """
    given = query.model_dump(exclude_unset=True)
    parameters = SeparateParameters.model_validate({**given, **fields})
    if parameters.model not in (None, model.name, model.hash):
        raise Problem(
            "model_unknown",
            f"model={parameters.model}; expected {model.name} or {model.hash}, the only one here.",
            extra={"available": [model.name, model.hash]},
        )
    return parameters
