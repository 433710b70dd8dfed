"""What depends on the device: OpenBLAS on Linux, kernels, products, convolutions, batches side by side."""
