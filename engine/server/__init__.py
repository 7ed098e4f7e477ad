"""The room that performs: network, disk and clock live here. The one that only decides is `engine/turn.py`."""
