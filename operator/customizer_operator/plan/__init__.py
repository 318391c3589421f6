"""Decisions. What is observed goes in, a plan comes out; no I/O, no clock, no environment."""
