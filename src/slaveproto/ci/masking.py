"""Masking of secrets in what a slave says: pure, in pieces, in a time that grows with the text alone.

Rules.

* Every value that the program has read is masked from then on, in every build: the slave may still have it.
* A secret is looked for as it is and in the forms in which programs write values: quoted for a shell, for Python, for
  JSON and for an address. Of one with several lines, each line of `SHORTEST_LINE` characters counts by itself.
* What is not found: other encodings (base64, compressed, backwards), and parts of a secret.
* Pieces end anywhere. The end of a piece is held back as long as it may be the beginning of a secret, and no longer;
  the pieces together are what the text as a whole would have become.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote

from slaveproto.ci.file.secrets import SHORTEST, mask_of
from slaveproto.master.output import Output

SHORTEST_LINE: Final = 8
MOST_VALUES: Final = 100

_QUOTINGS: Final[tuple[Callable[[str], str], ...]] = (
    lambda text: text,
    lambda text: shlex.quote(text).removeprefix("'").removesuffix("'"),
    lambda text: text.replace("\\", "\\\\"),
    lambda text: repr(text)[1:-1],
    lambda text: ascii(text)[1:-1],
    lambda text: repr(text.encode())[2:-1],
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: quote(text, safe=""),
    lambda text: quote(text),
    lambda text: text.replace("\n", "\r\n"),
)


def forms_of(value: str) -> Iterator[bytes]:
    """Return every text that stands for a secret."""
    whole = value.strip()
    lines = [line.strip() for line in whole.split("\n")]
    for text in (whole, *(line for line in lines if len(line) >= SHORTEST_LINE)):
        yield from (quoting(text).encode() for quoting in _QUOTINGS)


class Masks:
    """Secrets, and what is shown instead of each.

    Args:
        secrets: names and values, at least one; of a name the values may be several.
    """

    def __init__(self, secrets: Iterable[tuple[str, str]]) -> None:
        self._shown = {form: mask_of(name).encode() for name, value in secrets for form in forms_of(value)}
        # The longest first: of what begins at one place, that counts.
        self._forms = sorted(self._shown, key=len, reverse=True)
        any_form = b"|".join(map(re.escape, self._forms))
        # Most places are passed over by a look at a few bytes, which for a key of many lines is six times faster.
        self._pattern = re.compile(any_form if len(self._forms) == 1 else b"(?=%b)(?:%b)" % (self._glance(), any_form))

    def mask(self, data: bytes) -> bytes:
        """Return a whole text without the secrets."""
        return self._pattern.sub(lambda match: self._shown[match[0]], data)

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the text without its secrets as far as it is certain, and the rest as it is."""
        done = []
        position, certain = 0, self._certain(data, 0)
        while (match := self._pattern.search(data, position)) is not None and match.start() < certain:
            done += [data[position : match.start()], self._shown[match[0]]]
            position = match.end()
            if position > certain:
                certain = self._certain(data, position)
        return b"".join((*done, data[position:certain])), data[certain:]

    def _glance(self) -> bytes:
        sets = ({form[place : place + 1] for form in self._forms} for place in range(SHORTEST))
        return b"".join(b"[%b]" % b"".join(map(re.escape, sorted(found))) for found in sets)

    def _certain(self, data: bytes, start: int) -> int:
        """Return where, from `start` on, the first of what may become a secret begins."""
        first = len(data)
        for form in self._forms:
            place = max(start, len(data) - len(form) + 1)
            while (place := data.find(form[:1], place, first)) != -1:
                if form.startswith(data[place:]):
                    first = place
                    break
                place += 1
        return first


class Vault:
    """The values that the program has read so far, up to the last `MOST_VALUES` of them."""

    def __init__(self) -> None:
        self._secrets: dict[tuple[str, str], None] = {}
        self.masks: Masks | None = None
        """Masks of all of them; None as long as there are none."""

    def add(self, values: Mapping[str, str]) -> None:
        """Take in values, by name."""
        new = [secret for secret in values.items() if secret not in self._secrets]
        for secret in values.items():
            # What is in use is not the oldest.
            self._secrets.pop(secret, None)
            self._secrets[secret] = None
        while len(self._secrets) > MOST_VALUES:
            self._secrets.pop(next(iter(self._secrets)))
        if new:
            self.masks = Masks(self._secrets)

    def mask(self, data: bytes) -> bytes:
        """Return a whole text without the secrets."""
        return data if self.masks is None else self.masks.mask(data)

    def mask_text(self, text: str) -> str:
        """Return a whole text without the secrets."""
        return self.mask(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


class OutputMask:
    """The output of one step without secrets.

    Args:
        vault: has the secrets; a value counts as soon as it is there.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._rests: dict[tuple[str, str], bytes] = {}

    def feed(self, output: Output) -> Iterator[Output]:
        """Return what can be shown now."""
        masks = self._vault.masks
        if masks is None:
            yield output
            return
        place = output.log, output.stream
        data, self._rests[place] = masks.split(self._rests.get(place, b"") + output.data)
        if data:
            yield Output(*place, data)

    def end(self) -> Iterator[Output]:
        """Return what was held back. A secret may be complete in it that could have become a longer one."""
        yield from (Output(*place, self._vault.mask(rest)) for place, rest in self._rests.items() if rest)
        self._rests.clear()
