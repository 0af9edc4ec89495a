"""The captioning model's adapter and the store of captions."""
