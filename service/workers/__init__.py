"""Where recordings are separated: processes that have the model, apart from the one that answers."""
