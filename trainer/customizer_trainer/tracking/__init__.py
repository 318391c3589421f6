"""Tells W&B and MLflow of a training, in processes of their own that cannot hold it up."""
