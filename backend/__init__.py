"""The backend of Quadrate RAG."""

__version__ = "0.1.0"
