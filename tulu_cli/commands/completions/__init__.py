"""Install tab completion for bash, zsh or fish."""

EXAMPLES = (
    ("Complete tulu in every new shell", "tulu completions install"),
    ("Complete in this zsh only", "source <(tulu completions show zsh)"),
)
FILES = (
    ("~/.local/share/bash-completion/completions/tulu", "Where bash looks."),
    ("~/.local/share/zsh/site-functions/_tulu", "Where zsh looks if fpath names the folder."),
    ("~/.config/fish/completions/tulu.fish", "Where fish looks."),
)
ENVIRONMENT = (
    ("SHELL", "The shell to complete for, unless --shell names one."),
    ("BASH_COMPLETION_USER_DIR", "Where bash looks, instead of its own folder."),
    ("XDG_DATA_HOME, XDG_CONFIG_HOME", "The folders to use for ~/.local/share and ~/.config."),
)
