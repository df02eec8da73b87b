"""HTTP: uploads in, answers and problems out, keys, metrics and logs."""
