"""A journal's file while it is in use: it may be unwritable at first, and be deleted or replaced under us.

SQLite goes on writing to a file that has no name any more, and all of it would be gone at the end. So its name is
looked at before anything is committed. Where nothing is left, all that we hold is put back in its place; where another
file is there, that is the journal from now on; where that one is none, nothing is written until it is one.

A journal that cannot be written when the engine starts (a full or read-only disk, somebody's lock) is read as it
stands, if it can be, and opened properly as soon as that works. A damaged one is refused: nobody is to find out later
that nothing was kept.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engine.server.database import (
    MEMORY,
    DatabaseError,
    JournalError,
    connect,
    connect_reading,
    copy_to,
    passes,
)

Identity = tuple[int, int] | None


class JournalFile:
    """One thread owns it. `trouble` is why it cannot be written now, if it cannot be."""

    def __init__(self, path: str, read_only: bool, warn: Callable[[str], None]) -> None:
        """Raises JournalError or DatabaseError where it cannot even be read."""
        self._path = path
        self._watched = path != MEMORY and not read_only
        self._warn = warn
        self.trouble = ""
        try:
            self.connection = connect(path, read_only)
        except DatabaseError as error:
            if read_only or not passes(error) or not os.path.isfile(path):
                raise
            self.connection = connect_reading(path)
            self.trouble = str(error)
        self._opened = self._there()

    def look(self) -> None:
        """Whether it is still there, still ours, and still not to be written; what can be done about it is done."""
        if not self._watched:
            return
        found = self._there()
        if found == self._opened and not self.trouble:
            return
        try:
            if found is None:
                self._put_back()
                self._warn(f"the journal {self._path} was deleted while it was in use, and is written again")
            else:
                self._reconnect()
                if found != self._opened:
                    self._warn(
                        f"the journal {self._path} was replaced, and what is there now is the journal;"
                        " what was learned from it counts after a restart"
                    )
        except (DatabaseError, JournalError, OSError) as error:
            self.trouble = str(error)
            return
        self.trouble, self._opened = "", self._there()

    def close(self) -> None:
        self.connection.close()

    def _there(self) -> Identity:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _put_back(self) -> None:
        aside = f"{self._path}.put-back"
        self._empty_log()
        for leftover in (aside, f"{self._path}-wal", f"{self._path}-shm"):
            Path(leftover).unlink(missing_ok=True)
        copy_to(self.connection, aside)
        os.replace(aside, self._path)
        self._reconnect()

    def _reconnect(self) -> None:
        self._empty_log()
        connection = connect(self._path, read_only=False)
        self.connection.close()  # SQLite knows that its file has moved, and leaves what has its name now alone
        self.connection = connection

    def _empty_log(self) -> None:
        """What was written ahead belongs to the old file; it must not be taken for the new one's."""
        with suppress(DatabaseError):
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
