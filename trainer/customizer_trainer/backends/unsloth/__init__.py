"""Training by Unsloth and TRL: one process, one GPU."""
