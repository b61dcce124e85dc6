"""Let bash, zsh or fish complete what you type after tulu."""

EXAMPLES = (
    ("Press Tab after tulu from the next shell on", "tulu completions install"),
    ("Complete in this zsh alone", "source <(tulu completions show zsh)"),
)
FILES = (
    ("~/.local/share/bash-completion/completions/tulu", "Where bash looks."),
    ("~/.local/share/zsh/site-functions/_tulu", "Where zsh looks if fpath names the folder."),
    ("~/.config/fish/completions/tulu.fish", "Where fish looks."),
)
ENVIRONMENT = (
    ("SHELL", "The shell to complete for, if none is named."),
    ("BASH_COMPLETION_USER_DIR", "Where bash looks, instead of its own folder."),
    ("XDG_DATA_HOME, XDG_CONFIG_HOME", "The folders to use for ~/.local/share and ~/.config."),
)
