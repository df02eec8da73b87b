"""Small ONNX graphs that work on embeddings where they lie; training/write_graphs.py writes them."""
