"""All readers by name."""

from __future__ import annotations

from tests.fuzz.readers import archives, checkpoints, descriptors, images, lists, pickles, records, states
from tests.fuzz.reading import Reader

ROOMS = (archives, checkpoints, descriptors, images, lists, pickles, records, states)
READERS: dict[str, Reader] = {reader.name: reader for room in ROOMS for reader in room.READERS}
