"""What keeps the project in order and does not ship."""
