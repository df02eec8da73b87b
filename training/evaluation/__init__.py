"""How good a model is on a fixed list of mixtures: the parts of training/evaluate.py."""
