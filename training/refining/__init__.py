"""Training of the refiner, behind a trunk that stays as it is."""
