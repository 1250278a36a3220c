"""Tokenizer and classifier as one ONNX or `torch.export` file."""
