"""Real trainings of a tiny model through the real entry point, against a real S3 server."""
