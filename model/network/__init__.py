"""The embedding network in torch and its export to ONNX; the only files here that import torch. For training only."""
