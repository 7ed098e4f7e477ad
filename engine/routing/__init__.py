"""Where a request may go: which models can carry it, which one a session holds, what follows a failure."""
