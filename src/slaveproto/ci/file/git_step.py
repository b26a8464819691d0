"""The step `git`: a working tree of one revision, made by the slave's own `sh` and `git`.

Rules.

* Every slave since 0.8.4 can do it. A slave's source command `git` is not used: workers since 0.9 have none, and those
  of slaves differ by their versions.
* What a request says stands in words of the command, never in its script, and may not begin with `-`.
* Nothing but `.git` in the workdir counts as the repository, whatever lies around it or is in the slave's environment.
  One that is broken is made anew, and locks that a killed `git` left are removed.
* What can fail because of the network (fetching, submodules) is tried again after a pause.
* The step writes to its standard output the id of the commit and nothing else.
"""

from __future__ import annotations

from typing import Any, Final

from slaveproto.master.steps import Shell, Word

MODES: Final = ("update", "clean", "clobber")
"""Update what is there; remove what is not of the repository; begin with nothing."""

PAUSE: Final = 5
"""Seconds between two tries."""

GOT_REVISION: Final = "got_revision"
"""The property that tells what was checked out."""

_SCRIPT: Final = r"""
url=$1 branch=$2 revision=$3 mode=$4 submodules=$5 tries=$6
exec 3>&1 1>&2
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR
GIT_CEILING_DIRECTORIES=$(cd .. && pwd -P) GIT_TERMINAL_PROMPT=0
export GIT_CEILING_DIRECTORIES GIT_TERMINAL_PROMPT
for text in "$url" "$branch" "$revision"; do
    case $text in -*) echo "may not begin with -: $text"; exit 1 ;; esac
done
again() {
    left=$tries
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        echo "trying again in PAUSE s"
        sleep PAUSE
    done
}
fetch() { again git fetch -q --no-tags "$url" "+$1"; }
[ "$mode" != clobber ] || find . -mindepth 1 -maxdepth 1 -exec rm -rf {} +
rm -f .git/*.lock
{ [ -d .git ] && git rev-parse --verify -q HEAD > /dev/null 2>&1; } || { rm -rf .git; git init -q; }
target=FETCH_HEAD
known=no
case $revision in
    '' | *[!0-9a-f]*) ;;
    *) git cat-file -e "$revision^{commit}" 2> /dev/null && known=yes ;;
esac
if [ $known = no ]; then
    fetch "${branch:-HEAD}"
    case $revision in
        '') ;;
        *[!0-9a-f]*) fetch "$revision" ;;
        *)
            if git cat-file -e "$revision^{commit}" 2> /dev/null; then known=yes; else fetch "$revision"; fi
            ;;
    esac
fi
[ $known = no ] || target=$revision
git checkout -q -f --detach "$target"
[ "$mode" = update ] || git clean -q -ffdx
if [ "$submodules" = yes ]; then
    git submodule sync -q --recursive
    again git submodule update -q --init --recursive --force
    [ "$mode" = update ] || git submodule foreach -q --recursive 'git clean -q -ffdx'
fi
git rev-parse HEAD >&3
""".replace("PAUSE", str(PAUSE)).strip()


def git_step(
    *,
    url: Word,
    branch: str = "%(branch)s",
    revision: str = "%(revision)s",
    mode: str = MODES[0],
    submodules: bool = False,
    retries: int = 2,
    **given: Any,
) -> Shell:
    """Return the step.

    Args:
        url: of the repository.
        branch: empty for the one that the repository names itself.
        revision: a commit, or a name; empty for the newest of the branch.
        mode: one of `MODES`.
        submodules: whether they are brought, too.
        retries: how often what the network may spoil is tried again.
        given: what any step has, and `env`.
    """
    words = (url, branch, revision, mode, "yes" if submodules else "no", str(retries + 1))
    given = {"name": "git", "halt_on_failure": True, **given}
    return Shell(command=("sh", "-ec", _SCRIPT, "git", *words), **given)
