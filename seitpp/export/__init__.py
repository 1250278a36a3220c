"""Tokenizer and classifier or segmentor as one ONNX or `torch.export` file."""
