"""Show, change and check the settings, wherever they come from."""
