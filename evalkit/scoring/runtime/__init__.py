"""Scores by a graph of the model in ONNX Runtime or OpenVINO, in place of torch."""
