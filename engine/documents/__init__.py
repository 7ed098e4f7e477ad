"""Documents people write: YAML that remembers where everything stands, JSON Schema checks, shipped files.

The one door to PyYAML and jsonschema.
"""

from engine.documents.shipped import shipped_json, shipped_names, shipped_text, shipped_yaml

__all__ = ["shipped_json", "shipped_names", "shipped_text", "shipped_yaml"]
