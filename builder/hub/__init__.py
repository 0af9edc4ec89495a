"""The card, the upload and the checks of a published repo."""
