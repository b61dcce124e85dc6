"""GPU memory arithmetic: what a model will need, and what will fit. Pure: bytes in, bytes out."""
