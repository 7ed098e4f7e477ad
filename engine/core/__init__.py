"""The words every room shares. Standard library only."""
