"""Captions by continuous batching: beams of images that end make room for the next ones."""
