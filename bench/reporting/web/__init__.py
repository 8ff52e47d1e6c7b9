"""The report as one web page: everything in one file, which asks nobody for anything."""

from bench.reporting.web.document import document
from bench.reporting.web.payload import Pictures, comparison_payload, payload, shown_images, thumbnails

__all__ = ["Pictures", "comparison_payload", "document", "payload", "shown_images", "thumbnails"]
