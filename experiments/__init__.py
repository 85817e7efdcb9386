"""The story and its face: configs, the runner, run directories, the command line and the report."""
