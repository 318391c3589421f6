"""What a server is given: published artifacts, verified, and the base models that they need."""
