"""What operator and trainer agree on: the job file, progress, results, artifacts, errors and paths. pydantic only."""
