"""Repo, the tool for trees of many Git repositories. Source: `commands/repo.py` of buildslave 0.8.4 and 0.8.14.

Rules. Repo looks for `.repo/repo/main.py` in the directories above, too, and can neither be kept from it nor be told
where its tree is: `repo init` inside of another tree makes that one anew. So no tree is made where there is one above.
"""

from __future__ import annotations

import re
from typing import Final

from slaveproto.commands.process import ProcessEnd
from slaveproto.commands.source.git import ELSEWHERE, answers, bound, names_no_ref, refuses_owner
from slaveproto.commands.source.options import SourceArguments
from slaveproto.commands.source.plan import System
from slaveproto.commands.source.workspace import SourceFailed, Workspace
from slaveproto.effects import Script, SendItem

_CHANGE: Final = re.compile(r".* refs/changes/\d\d/(\d+)/(\d+) -> FETCH_HEAD$")
_HEAD: Final = re.compile(r"HEAD is now at ([0-9a-f]+)")
_CONFLICTS: Final = ("Automatic cherry-pick failed", "Automatic revert failed")
_MARK: Final = ".repo/repo/main.py"
_OVERRIDE: Final = "manifest_override.xml"


class Repo(System):
    """A tree that a manifest describes, with changes of a review on top."""

    operation = "repo operation"

    def __init__(self, args: SourceArguments, ws: Workspace) -> None:
        self._ws = ws
        self._url = args.text("manifest_url")
        self._branch = args.text("manifest_branch") or "master"
        self._file = args.text("manifest_file") or "default.xml"
        self._other = args.text("manifest_override_url")
        self._jobs = (f"-j{args.text('jobs')}",) if args.flag("jobs") else ()
        self._archive = args.text("tarball")
        self._downloads = args.texts("repo_downloads")
        self._complaint = ""
        self.sourcedata = f"{self._url} {self._branch} {self._file}"

    def is_updateable(self) -> Script[bool]:
        return self._ws.is_file(self._ws.source(_MARK))

    def update(self) -> Script[int]:
        ws = self._ws
        yield from self._repo("forall", "-c", "git", "clean", "-f", "-d", "-x")
        clean = ("git", "clean", "-f", "-d", "-x")
        yield from ws.run(*clean, directory=ws.source(".repo/manifests"), variables=bound(ws), without=ELSEWHERE)
        yield from self._override()
        yield from ws.say(f"synching manifest {self._file} from branch {self._branch} from {self._url}")
        yield from ws.must(self._repo("sync", *self._jobs))
        if self._archive and not (yield from ws.is_file(self._archive)):
            yield from ws.run("tar", "-cvzf", self._archive, ".repo", directory=ws.source())
        yield from self._download()
        return 0

    def check_out(self) -> Script[int]:
        ws = self._ws
        yield from self._check_above()
        yield from ws.make(ws.source())
        if self._archive and (yield from ws.is_file(self._archive)):
            yield from ws.run("tar", "-xvzf", self._archive, directory=ws.source())
        # One that comes out of the archive confuses `repo init`.
        yield from ws.discard(ws.source(".repo/project.list"))
        yield from ws.must(self._repo("init", "-u", self._url, "-b", self._branch, "-m", self._file))
        return (yield from self.update())

    def is_hopeless(self) -> bool:
        return names_no_ref(self._complaint) or refuses_owner(self._complaint)

    def is_reachable(self) -> Script[bool]:
        return (yield from answers(self._url, self._ws))

    def _check_above(self) -> Script[None]:
        """Raise SourceFailed if the tree would be inside of another one."""
        here, above = self._ws.source(), self._ws.source("..")
        while above != here:
            if (yield from self._ws.is_file(self._ws.at(above, _MARK))):
                yield from self._ws.say(f"{above} is a tree of repo, which would be changed instead of one in it")
                raise SourceFailed(-1, final=True)
            here, above = above, self._ws.at(above, "..")

    def _override(self) -> Script[None]:
        """Put another manifest into the place of the usual one, or that one back into its own."""
        ws = self._ws
        if self._other:
            yield from ws.say(f"overriding manifest with {self._other}")
            here = yield from ws.is_file(ws.source(self._other))
            bring = ("cp", "-f", self._other, _OVERRIDE) if here else ("wget", self._other, "-O", _OVERRIDE)
            yield from ws.must(ws.run(*bring, directory=ws.source()))
            manifest = f"../{_OVERRIDE}"
        elif (yield from ws.is_file(ws.source(_OVERRIDE))):
            yield from ws.discard(ws.source(_OVERRIDE))
            manifest = f"manifests/{self._file}"
        else:
            return
        yield from ws.must(ws.run("ln", "-sf", manifest, "manifest.xml", directory=ws.source(".repo")))

    def _download(self) -> Script[None]:
        """Bring each change of a review, and tell what it became."""
        brought = []
        for download in self._downloads:
            yield from self._ws.say(f"downloading changeset {download}")
            told = yield from self._repo("download", *download.split(" "), keep=True)
            self._complaint = self._ws.output(told, "stderr")
            if any(words in self._complaint for words in _CONFLICTS):
                yield from self._repo("forall", "-c", "git", "diff", "HEAD")
                yield from self._ws.say(f"the changeset {download} cannot be merged")
                raise SourceFailed(-1, final=True)
            self._ws.require(told)
            lines = self._complaint.splitlines()
            change = next((found for line in lines if (found := _CHANGE.match(line))), None)
            head = next((found for line in reversed(lines) if (found := _HEAD.match(line))), None)
            if change is not None and head is not None:
                brought.append(f"{change[1]}/{change[2]} {head[1]}")
        if brought:
            yield from SendItem("repo_downloaded", " ".join(brought))

    def _repo(self, *words: str, keep: bool = False) -> Script[ProcessEnd]:
        return self._ws.run(
            "repo",
            *words,
            directory=self._ws.source(),
            keep=("stderr",) if keep else (),
            variables=bound(self._ws),
            without=ELSEWHERE,
        )
