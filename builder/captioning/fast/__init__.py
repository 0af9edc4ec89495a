"""Captions of a BLIP-2 with a T5, made faster than by transformers' `generate`.

`generate` works on a batch until the longest caption of the batch is complete. Here a fixed number
of slots is decoded, and each slot holds one image. When a caption is complete, the next image takes
its slot at once. This is called continuous batching. In float32 the captions are those of
`generate`. In a lower precision other rounding can change some of them.

- `captioner.py`: ContinuousCaptioner. It fills the slots with images and collects the captions.
- `encoder.py`: Encoder. It turns images into what T5's decoder attends to.
- `search.py`: BeamSearch. It chooses the tokens of all slots, one token in each step.
- `decoder.py`: BeamDecoder. It computes the logits for a step and stores the keys and values.
- `graph.py`: Recorded. It runs a function as a CUDA graph, or directly on other devices.

The rest of the project imports ContinuousCaptioner from here and none of these modules. The tests
and benchmarks import the modules to look at the parts alone.
"""

from builder.captioning.fast.captioner import ContinuousCaptioner

__all__ = ["ContinuousCaptioner"]
