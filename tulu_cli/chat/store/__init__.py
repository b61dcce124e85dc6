"""Where conversations are kept: SQLite on disk, or memory where the disk fails."""
