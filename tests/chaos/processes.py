"""What the processes of a run have in common: they end when their time is over, and open as many files as they may."""

import resource
import signal

from engine.app import event_loop

__all__ = ["bounded", "event_loop", "more_files"]


def bounded(seconds: float) -> None:
    """End this process after so long, whatever it is doing."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(max(1, round(seconds)))


def more_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
