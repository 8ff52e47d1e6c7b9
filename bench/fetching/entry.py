"""An entry of the catalog: what it is, where it comes from, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["data set", "descriptors", "checkpoint"]


@dataclass(frozen=True, kw_only=True)
class File:
    """One file on a server, `hf:OWNER/NAME` for the checkpoint of a repository of the Hugging Face hub.

    name: under which it is kept. md5_url: of a text that begins with its MD5. unpack_to: for an archive, the folder
    that its members land in; several may share one. take, flat: see `bench.fetching.archives.unpack`.
    """

    url: str
    name: str
    size_bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    md5_url: str | None = None
    unpack_to: str | None = None
    take: str = ""
    flat: bool = False

    @property
    def target(self) -> str:
        """What it becomes, relative to the entry's folder."""
        return self.unpack_to or self.name


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is fetched together.

    folder: where it lands, relative to the data root. size: in words. plain_http: why an address is not https.
    by_hand: what has to be done where no public address leads to it; needs: what is there then, as patterns.
    """

    name: str
    kind: Kind
    note: str
    licence: str
    home: str
    folder: str
    files: tuple[File, ...] = ()
    size: str = "not published"
    plain_http: str = ""
    by_hand: str = ""
    needs: tuple[str, ...] = ()

    @property
    def obtained(self) -> str:
        """How: directly, by hand, or both."""
        if not self.by_hand:
            return "direct"
        return "partly by hand" if self.files else "by hand"
