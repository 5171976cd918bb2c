"""``serializer="json"``: bodies that pydantic writes and reads by the annotations of the task's function."""

from .serializer import JsonSerializer

__all__ = ["JsonSerializer"]
