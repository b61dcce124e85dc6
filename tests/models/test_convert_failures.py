"""What the user is told when a GGUF file cannot be converted, and that nothing is left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tulu_cli.errors import BadInput, DoesNotFit, NoEngine, TuluError
from tulu_cli.models import locate, resolve

from .converters import SUCCEED, Install, leftovers
from .tiny_gguf import tensors

REPORT = 'import sys; print(\'{"failure": "%s", "detail": "the reason"}\'); sys.exit(1)'


@pytest.mark.parametrize(
    ("program", "kind", "advice"),
    [
        (REPORT % "file", BadInput, "the reason.*fetch the file again"),
        (REPORT % "install", NoEngine, r"the reason.*pip install 'tulu_cli\[transformers\]'"),
        (REPORT % "memory", DoesNotFit, r"GiB of RAM"),
        (REPORT % "model", TuluError, "the reason"),
        (REPORT % "disk", TuluError, "the reason.*disk"),
        ("import os; os.kill(os.getpid(), 9)", DoesNotFit, r"GiB of RAM"),
        (
            "import sys; print('noise\\nlast words', file=sys.stderr); sys.exit(3)",
            TuluError,
            "last",
        ),
        ("raise SystemExit(3)", TuluError, "no reason given"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_a_failure_is_one_sentence_and_leaves_nothing(
    tiny_gguf: Path,
    fake_converter: Install,
    program: str,
    kind: type[TuluError],
    advice: str,
) -> None:
    fake_converter(program)
    with pytest.raises(TuluError, match=advice) as caught:
        locate(resolve(str(tiny_gguf)))
    assert type(caught.value) is kind
    assert tiny_gguf.name in str(caught.value) or kind is NoEngine
    assert str(caught.value).isprintable()
    assert leftovers() == []


@pytest.mark.usefixtures("cache")
def test_a_file_cut_in_its_weights_is_refused_by_the_real_converter(
    tiny_gguf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_gguf.read_bytes()[:-1])
    with pytest.raises(BadInput, match="cut short or damaged"):
        locate(resolve(str(cut)))
    assert capfd.readouterr() == ("", "")
    assert leftovers() == []


@pytest.mark.usefixtures("cache")
def test_an_architecture_that_transformers_does_not_know(
    tiny_gguf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(tiny_gguf.read_bytes().replace(b"llama", b"ll4m4"))
    with pytest.raises(TuluError, match="ll4m4") as caught:
        locate(resolve(str(strange)))
    assert type(caught.value) is TuluError
    assert str(caught.value).isprintable()
    assert capfd.readouterr() == ("", "")
    assert leftovers() == []


@pytest.mark.usefixtures("cache")
def test_a_missing_library_is_named(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tulu_cli.models.gguf.find_spec", lambda name: name != "gguf" or None)
    with pytest.raises(NoEngine, match=r"needs gguf: pip install 'tulu_cli\[transformers\]'"):
        locate(resolve(str(tiny_gguf)))
    assert leftovers() == []


@pytest.mark.usefixtures("cache")
def test_a_disk_too_small_is_refused_first(
    tiny_gguf: Path, fake_converter: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_converter(SUCCEED)
    monkeypatch.setattr("tulu_cli.disk.gib", lambda size: f"<{size}>")
    free = 2 * sum(tensor.size for tensor in tensors().values()) + 64 * 2**20

    def answer(size: int) -> Callable[[object], object]:
        return lambda _: type("Usage", (), {"free": size})

    monkeypatch.setattr("shutil.disk_usage", answer(free - 1))
    with pytest.raises(TuluError, match=f"needs <{free}> of disk.*has <{free - 1}> free"):
        locate(resolve(str(tiny_gguf)))
    assert leftovers() == []
    monkeypatch.setattr("shutil.disk_usage", answer(free))
    assert locate(resolve(str(tiny_gguf))).directory.is_dir()


def test_a_file_that_vanished(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF")
    ref = resolve(str(file))
    file.unlink()
    with pytest.raises(TuluError, match="cannot be read: No such file"):
        locate(ref)
    assert not cache.exists()
