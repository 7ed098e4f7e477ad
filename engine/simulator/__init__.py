"""Local providers on real sockets: the vendors' wire formats, models with habits, and faults on demand.

Written by hand from the vendors' own formats and never through `engine.protocols`, so that a mistake there
cannot hide behind itself here. `server.Simulator` is the way in; `catalog.catalog_text` describes it to the
engine.
"""

from engine.simulator.catalog import catalog_text
from engine.simulator.server import Simulator, run_in_process, run_in_thread

__all__ = ["Simulator", "catalog_text", "run_in_process", "run_in_thread"]
