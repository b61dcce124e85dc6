"""What a model name means, and where its files are. Importing this loads the standard library."""

from tulu_cli.models.config import ModelFiles
from tulu_cli.models.family import FamilyModel, family_models, tulu_system_prompt
from tulu_cli.models.locator import locate
from tulu_cli.models.progress import Progress, Say, no_progress
from tulu_cli.models.reference import ModelRef, resolve

__all__ = [
    "FamilyModel",
    "ModelFiles",
    "ModelRef",
    "Progress",
    "Say",
    "family_models",
    "locate",
    "no_progress",
    "resolve",
    "tulu_system_prompt",
]
