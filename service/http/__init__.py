"""What speaks HTTP: uploads in, answers and problems out, who may call, and what is counted and logged of it."""
