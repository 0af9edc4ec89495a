"""The dataset repo on the Hub: listing it, planning a push, uploading, checking."""
