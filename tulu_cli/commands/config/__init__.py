"""Show, change and check the settings, wherever they come from."""

EXAMPLES = (
    ("Set the default temperature", "tulu config set temperature 0.3"),
    ("See every setting and where it comes from", "tulu config show --origin"),
)
