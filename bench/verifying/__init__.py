"""Stored rows, found again: `rerun` runs a record's cell from its key, `compare` says what of both records agrees."""
