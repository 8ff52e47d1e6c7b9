"""What can be fetched, and how: one table of entries, downloads that resume, archives that cannot do harm."""

from bench.fetching.catalog import ENTRIES, find
from bench.fetching.entry import Entry, File
from bench.fetching.install import fetch, left_to_do

__all__ = ["ENTRIES", "Entry", "File", "fetch", "find", "left_to_do"]
