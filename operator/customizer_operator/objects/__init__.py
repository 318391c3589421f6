"""Builders of Kubernetes objects: a resource of ours in, a plain dict out."""
