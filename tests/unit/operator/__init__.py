"""The operator's decisions, builders and loop, without a cluster."""
