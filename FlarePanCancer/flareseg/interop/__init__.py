"""Models of other programs in, and out to them: nnU-Net, MONAI, ONNX."""
