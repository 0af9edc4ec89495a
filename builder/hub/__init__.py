"""The dataset repo on the Hub: what is there, the plan of a push, the upload, the checks."""
