"""Load, kills, damage and full disks, for some minutes: `make soak`, or one part alone."""
