"""The libraries that train, behind one interface (`backend`, `choice`). One package each, with

- `recipe` or `settings`: a pure function from the job to the library's own configuration or arguments;
- `run`: the module that torchrun starts, one process a rank;
- `artifact`: from a checkpoint to the files that are published.
"""
