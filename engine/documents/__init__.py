"""Documents people write: YAML that remembers where everything stands, JSON Schema checks, shipped files.

The one door to PyYAML and jsonschema.
"""

from engine.documents.places import Document, Path, Place
from engine.documents.reading import MOST_CHARACTERS, read
from engine.documents.shape import check_shape, did_you_mean, nearest
from engine.documents.shipped import shipped_json, shipped_names, shipped_text, shipped_yaml

__all__ = [
    "MOST_CHARACTERS",
    "Document",
    "Path",
    "Place",
    "check_shape",
    "did_you_mean",
    "nearest",
    "read",
    "shipped_json",
    "shipped_names",
    "shipped_text",
    "shipped_yaml",
]
