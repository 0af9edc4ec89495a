"""RLE, PNG and the control image."""
