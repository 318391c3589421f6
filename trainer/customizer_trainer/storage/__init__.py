"""Where models, data and artifacts are read from and written to.

- `store.Store`: `read`, `list_objects`, `exists`, `download`, `download_files` (against a manifest), `upload`,
  `put_if_absent`. Errors are `CustomizerError`s of the catalogue. `s3.S3(job.storage)` is one, with addresses
  `s3://bucket/key`; `folder.Folder()` another, with `file:///folder/file`; `output.open_output(job)` the job's own.
- `sources`: `fetch_model`, `fetch_model_settings` (no weights), `fetch_data`: any source to a local path, verified,
  downloading nothing that is already there.
- `model_files`: which files of a repository make a model. `digest`: sha256 of files and of a model.
"""
