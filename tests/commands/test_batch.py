"""The line of a batch file, read back by the rules of `cmd.exe` and of C programs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.commands.batch import batch_line


def after_cmd(line: str) -> str:
    """What `cmd.exe` makes of a line in a batch file, if that is one command."""
    text, quoted, out = line.replace("%%", "\0"), False, []
    assert "%" not in text, "a variable"
    position = 0
    while position < len(text):
        char = text[position]
        if char == '"':
            quoted = not quoted
        elif not quoted and char == "^":
            position += 1
            char = text[position]
        else:
            assert quoted or char not in "@()<>&|\n", "more than one command"
        out.append(char)
        position += 1
    return "".join(out).replace("\0", "%")


def taken_apart(line: str) -> list[str]:
    """The arguments of a program, as Microsoft's C library finds them; the first one has rules of its own."""
    name = re.match(r'"([^"]*)"|([^ \t]*)', line)
    assert name is not None
    words, rest = [name[1] if name[1] is not None else name[2]], line[name.end() :]
    word, quoted, begun = "", False, False
    for slashes, quote, other in re.findall(r'(\\*)(?:(")|([^\\"]|\Z))', rest, re.DOTALL):
        if quote:
            word += "\\" * (len(slashes) // 2)
            begun = True
            if len(slashes) % 2:
                word += '"'
            else:
                quoted = not quoted
            continue
        word += slashes
        begun = begun or bool(slashes)
        if other and (quoted or other not in " \t"):
            word, begun = word + other, True
        elif begun:
            words.append(word)
            word, begun = "", False
    return words


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], ""),
        (["make"], "make"),
        (["make", "-j2", "all"], "make -j2 all"),
        (["echo", "a b"], 'echo ^"a b^"'),
        (["echo", ""], 'echo ^"^"'),
        (["echo", "a&b"], "echo a^&b"),
        (["echo", "(a|b)<c>@^"], "echo ^(a^|b^)^<c^>^@^^"),
        (["echo", "%PATH%"], "echo %%PATH%%"),
        (["echo", '"'], 'echo ^"\\^"^"'),
        (["echo", 'say "hi"'], 'echo ^"say \\^"hi\\^"^"'),
        (["dir", "C:\\x\\"], "dir C:\\x\\"),
        (["dir", "C:\\a b\\"], 'dir ^"C:\\a b\\\\^"'),
        (["dir", 'a\\\\"b'], 'dir ^"a\\\\\\\\\\^"b^"'),
        (["C:\\Program Files\\x.bat", "a"], '"C:\\Program Files\\x.bat" a'),
        (["C:\\R&D\\50%.bat"], '"C:\\R&D\\50%%.bat"'),
        (["@echo", "caf\xe9"], '"@echo" caf\xe9'),
    ],
)
def test_line(words: list[str], line: str) -> None:
    assert batch_line(words) == line


NAMES = st.text(st.characters(exclude_characters='"\r\n\0', exclude_categories=["Cs"]), min_size=1)
WORDS = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])) | st.text('\\" %^&a')


@given(NAMES, st.lists(WORDS))
def test_a_program_gets_the_words(name: str, words: list[str]) -> None:
    assert taken_apart(after_cmd(batch_line([name, *words]))) == [name, *words]
