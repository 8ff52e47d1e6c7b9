"""Errors that a user can act on."""


class RerankError(ValueError):
    """Input that a re-ranker cannot use: what was seen, what was wanted, what to do."""

    def __init__(self, seen: str, *, wanted: str, cure: str) -> None:
        super().__init__(f"{seen}; wanted {wanted}. {cure}")
        self.seen, self.wanted, self.cure = seen, wanted, cure
