"""What goes over a wire, in both directions: pure JSON to values and back."""
