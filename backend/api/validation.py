"""Checks that need the configured limits."""

from __future__ import annotations

from backend.api.deps import Limits
from backend.core.errors import TooLarge


def upload_too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(
        f"The upload is larger than {limit_bytes} bytes (INGEST_MAX_FILE_BYTES).",
        setting="INGEST_MAX_FILE_BYTES",
        limit=limit_bytes,
    )


def chosen_top_k(limits: Limits, given: int | None) -> int:
    """
    Raises:
        TooLarge: more than the operator allows.
    """
    if given is None:
        return limits.default_top_k
    if given > limits.max_top_k:
        raise TooLarge(
            f"top_k is at most {limits.max_top_k} (SEARCH_MAX_TOP_K).",
            setting="SEARCH_MAX_TOP_K",
            limit=limits.max_top_k,
        )
    return given
