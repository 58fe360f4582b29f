"""What the handlers work with; built by the wiring, kept on the application."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from backend.services.ask import Answerer
from backend.services.documents import Documents
from backend.services.gateway import GatewayParts
from backend.services.ingest import Ingestor
from backend.services.operation import Operation
from backend.services.retrieve import CachedRetriever
from backend.services.summarize.service import Summaries
from backend.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Limits:
    upload_limit_bytes: int
    default_top_k: int
    max_top_k: int


@dataclass(frozen=True, slots=True)
class Services:
    ingestor: Ingestor
    documents: Documents
    retriever: CachedRetriever
    answerer: Answerer
    summaries: Summaries
    gateway: GatewayParts
    metrics: Metrics
    operation: Operation
    limits: Limits
    uploads: Path  # temporary files, on the same filesystem as the originals


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


Injected = Annotated[Services, Depends(services)]


def operation(request: Request) -> Operation:
    """Also of the gateway alone, which has no other services."""
    found: Operation = request.app.state.operation
    return found


Operated = Annotated[Operation, Depends(operation)]
