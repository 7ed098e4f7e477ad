"""What the engine answers, as OpenAPI 3.1: written by hand in `schemas/openapi.v1.yaml`, kept true by its test."""

from functools import cache

from engine import wire
from engine.documents import shipped_yaml


@cache
def openapi() -> bytes:
    """The description as JSON. Operations that several paths share are told apart by a name of their own."""
    told = shipped_yaml("schemas/openapi.v1.yaml")
    paths = {path: dict(operations) for path, operations in told["paths"].items()}
    for path, operations in paths.items():
        for method, operation in operations.items():
            if method != "parameters" and "operationId" not in operation:
                name = path.strip("/").replace("{model}:", "").replace("/", "_")
                operations[method] = {"operationId": name, **operation}
    return wire.dumps({**told, "paths": paths})
