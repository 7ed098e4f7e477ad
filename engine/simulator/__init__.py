"""Local providers on real sockets: the vendors' wire formats, models with habits, and faults on demand.

Written by hand from the vendors' own formats and never through `engine.protocols`, so that a mistake there
cannot hide behind itself here. `server.Simulator` is the way in; `catalog.catalog_text` describes it to the
engine.
"""
