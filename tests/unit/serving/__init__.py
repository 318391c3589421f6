"""Serving: what is decided, rendered, verified and staged."""
