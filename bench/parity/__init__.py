"""Reference cases of official implementations, run against this project: `python -m bench.parity FOLDER...`."""
