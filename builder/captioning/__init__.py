"""Captions: loading the model, making captions of images, and the files that hold them."""
