"""Released models: one ONNX file that says what it is, what for, and who signed it."""
