"""Records on disk to token samples: found, checked, rendered, truncated, masked and stored. No torch.

`prepare.prepare` is the whole way; preflight and training both go it, so what preflight has seen is what is trained.
"""
