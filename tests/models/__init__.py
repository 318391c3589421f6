"""Small models to train: made once, kept in the cache."""
