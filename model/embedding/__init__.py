"""The embedding network as ONNX Runtime runs it, on CPU or GPU, and what is kept of its embeddings."""
