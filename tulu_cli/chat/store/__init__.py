"""Stores of conversations: SQLite on disk, or memory when the disk fails."""
