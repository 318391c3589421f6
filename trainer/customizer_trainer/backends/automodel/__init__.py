"""NeMo Automodel 0.7.0."""
