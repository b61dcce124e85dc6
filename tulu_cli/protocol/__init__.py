"""What goes over a wire, in both directions: pure JSON <-> values."""
