"""`tulu completions`: what is put where, and what is left alone."""

from importlib import metadata
from pathlib import Path

import pytest

import tulu_cli
from tests.program import tulu
from tulu_cli.commands.completions import _shells, install, uninstall
from tulu_cli.commands.completions._shells import (
    SCRIPTS,
    ShellName,
    place_of,
    script_of,
    shell_of,
)
from tulu_cli.errors import TuluError, UsageError
from tulu_cli.streams import Streams

PLACES: dict[ShellName, str] = {
    "bash": ".local/share/bash-completion/completions/tulu",
    "zsh": ".local/share/zsh/site-functions/_tulu",
    "fish": ".config/fish/completions/tulu.fish",
}
every_shell = pytest.mark.parametrize("shell", PLACES)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "BASH_COMPLETION_USER_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def said(streams: Streams) -> tuple[str, str]:
    """What is on stdout and on stderr."""
    return streams.stdout.getvalue().decode(), streams.stderr.getvalue().decode()  # type: ignore[attr-defined]


def files(home: Path) -> list[str]:
    """Everything in the home that is no folder."""
    found = (path for path in home.rglob("*") if path.is_symlink() or not path.is_dir())
    return [str(path.relative_to(home)) for path in found]


@every_shell
def test_installed_twice_and_taken_away_twice(home: Path, shell: ShellName) -> None:
    for _ in range(2):
        streams = Streams.test()
        install.run(shell, streams)
        assert said(streams)[0] == f"{home / PLACES[shell]}\n"
        assert f"tulu: {shell} reads it " in said(streams)[1]
        assert files(home) == [PLACES[shell]]
        assert (home / PLACES[shell]).read_text() == script_of(shell).read_text()
    for expected in (
        (f"{home / PLACES[shell]}\n", ""),
        ("", f"tulu: nothing is installed for {shell}.\n"),
    ):
        streams = Streams.test()
        uninstall.run(shell, streams)
        assert said(streams) == expected
        assert files(home) == []


@every_shell
def test_a_file_of_somebody_else_is_left_alone(home: Path, shell: ShellName) -> None:
    place = home / PLACES[shell]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"\xff mine")
    for command in (install.run, uninstall.run):
        with pytest.raises(TuluError, match="is not ours, so it is left alone"):
            command(shell, Streams.test())
    assert place.read_bytes() == b"\xff mine"


def test_an_old_copy_and_a_link_to_nowhere_are_ours(home: Path) -> None:
    place = home / PLACES["zsh"]
    place.parent.mkdir(parents=True)
    place.write_text(script_of("zsh").read_text() + "# of another version\n")
    install.run("zsh", Streams.test())
    assert place.resolve() == script_of("zsh").resolve()
    place.unlink()
    place.symlink_to(home / "gone")
    uninstall.run("zsh", Streams.test())
    assert files(home) == []


@pytest.mark.parametrize("command", [install.run, uninstall.run])
def test_a_place_that_cannot_be_written(home: Path, command: object) -> None:
    (home / ".local").write_text("a file")
    with pytest.raises(TuluError, match=r"cannot be (read|written): Not a directory\."):
        command("bash", Streams.test())  # type: ignore[operator]
    assert files(home) == [".local"]


def test_the_folders_of_the_environment(tmp_path: Path) -> None:
    env = {"HOME": "/h", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c"}
    assert str(place_of("bash", env)) == "/d/bash-completion/completions/tulu"
    assert str(place_of("zsh", env)) == "/d/zsh/site-functions/_tulu"
    assert str(place_of("fish", env)) == "/c/fish/completions/tulu.fish"
    env["BASH_COMPLETION_USER_DIR"] = "/b"
    assert str(place_of("bash", env)) == "/b/completions/tulu"
    assert place_of("fish", {}) == Path.home() / PLACES["fish"]


def test_the_shell_is_the_one_that_was_named_or_the_users() -> None:
    assert shell_of("zsh", {"SHELL": "/bin/bash"}) == "zsh"
    assert shell_of(None, {"SHELL": "/usr/bin/fish"}) == "fish"
    with pytest.raises(UsageError, match="'tcsh' is the shell of SHELL, and there are completions"):
        shell_of(None, {"SHELL": "/bin/tcsh"})
    with pytest.raises(UsageError, match="SHELL is not set: there are completions for bash, zsh"):
        shell_of(None, {})


@every_shell
def test_show_is_the_script(shell: ShellName) -> None:
    done = tulu("completions", "show", shell)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == script_of(shell).read_bytes()
    assert tulu("completions", "show", env={"SHELL": f"/bin/{shell}"}).stdout == done.stdout


def test_another_shell_is_a_usage_error() -> None:
    done = tulu("completions", "show", "tcsh")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"'bash', 'zsh', 'fish'" in done.stderr


def test_without_a_checkout_the_script_is_where_the_wheel_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lib" / "site" / "tulu_cli"
    monkeypatch.setattr(tulu_cli, "__file__", str(package / "__init__.py"))
    shipped = tmp_path / SCRIPTS["fish"].shipped
    shipped.parent.mkdir(parents=True)
    shipped.write_text("the script")

    class Entry(metadata.PackagePath):
        def locate(self) -> Path:
            return package.parent / self

    entries = [Entry("tulu_cli/main.py"), Entry(f"../../{SCRIPTS['fish'].shipped}")]
    package.parent.mkdir(parents=True)
    monkeypatch.setattr(f"{_shells.__name__}.metadata.files", lambda _: entries)
    assert script_of("fish") == shipped
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for version in ("the script", "the next one"):
        shipped.write_text(f"# {_shells._MARK}: {version}")
        install.run("fish", Streams.test())
        place = tmp_path / "fish/completions/tulu.fish"
        assert not place.is_symlink()  # zsh complains of a link to what was uninstalled
        assert place.read_text() == shipped.read_text()
    with pytest.raises(TuluError, match="completions for bash are not installed: install tulu_cli"):
        script_of("bash")
