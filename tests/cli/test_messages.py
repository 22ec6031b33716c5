"""Messages of the library on the command line."""

from __future__ import annotations

import pytest

from rdtools.cli.main import _in_options, main


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("use `tokens` instead of `text`", "use --tokens instead of --text"),
        ("other `trust_remote_code`; choose", "other --trust-remote-code; choose"),
        ("`Layer` and `no_option` and text stay", "`Layer` and `no_option` and text stay"),
    ],
)
def test_arguments_become_options(message, shown):
    assert _in_options(message) == shown


def test_hessians_of_other_libraries_are_used_again_and_the_user_is_told(tiny_llama, tiny_tokens, tmp_path, capsys, monkeypatch):
    from rdtools.model import pretrained

    argv = ["hessians", "collect", str(tmp_path / "run"), "--model", str(tiny_llama), "--tokens", str(tiny_tokens)]
    assert main(argv) == 0
    assert "used again" not in capsys.readouterr().out
    monkeypatch.setattr(pretrained.torch, "__version__", "99.0")
    assert main(argv) == 0
    note, result, coverage = capsys.readouterr().out.splitlines()
    assert note.endswith("are used again; a capture now would use torch 99.0")
    assert "8 Hessians for 14 layers" in result
    assert coverage == "Analysed: 78.9% of 4,864 parameters in linear maps; without the output head lm_head (21.1%; --head adds it)"
