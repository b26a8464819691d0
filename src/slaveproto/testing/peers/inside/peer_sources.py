# -*- coding: utf-8 -*-
"""The builders about source commands, for the 0.8.4p1 master, and one for 4.3; runs in Python 2.7 and 3.

S.repositories is the folder of peers/repositories.py, with one set of repositories for each slave, so that no slave has to
wait for another.  Most steps send a command as it is, so that every argument can be tried; of each system there is one
step of the master's own, too.
"""

PATCH = '--- a/file\n+++ b/file\n@@ -1,2 +1,3 @@\n one\n two\n+three\n'
PATCH_BELOW = '--- other\n+++ other\n@@ -1 +1,2 @@\n other\n+more\n'
BAD_PATCH = '--- a/file\n+++ b/file\n@@ -1,2 +1,2 @@\n not\n-there\n+here\n'


def url(S, name):
    return '%s/%s/%s' % (S.repositories, S.slave, name)


def bring(S, command, args, name='raw', **more):
    """-> a source command with the arguments that all of them have"""
    given = {'workdir': 'build', 'mode': 'update', 'revision': None, 'patch': None, 'timeout': 60, 'retry': None}
    given.update(args)
    given.update(more)
    return S.raw(command, given, name=name)


def look(S):
    """-> a step that shows the tree, and what lies beside it"""
    return S.sh("find . \\( -name .git -o -name .svn -o -name .hg -o -name .bzr -o -name CVS -o -name _darcs"
                " -o -name _MTN -o -name BK -o -name .repo \\) -prune"
                " -o \\( -type f -exec sh -c 'echo \"$1: $(tail -n 2 \"$1\" | tr \"\\n\" /)\"' - {} \\; \\) | sort;"
                " cd ..; ls -A | grep -v -e '^[.]darcs-prefs$'; cat .buildbot-sourcedata-*",
                logEnviron=False, alwaysRun=True)


def spoil(S):
    """-> a step that leaves something in the tree that no system knows"""
    return S.sh('echo junk > junk; echo x > x.ignored; mkdir -p left; echo y > left/y; echo changed > file',
                logEnviron=False)


def common(S, command, args, old):
    """-> steps that go the ways which all systems have; `old` is a revision"""
    return [
        bring(S, command, args), look(S), spoil(S),
        bring(S, command, args), look(S),
        bring(S, command, args, mode='clobber', revision=old), look(S),
        bring(S, command, args, mode='copy', patch=[1, PATCH]), look(S),
        bring(S, command, args, patch=[1, PATCH], maxTime=50), look(S),
        bring(S, command, args), look(S),
    ]


def more(S, command, args, old):
    """-> steps that go some ways again, from other places"""
    return [
        bring(S, command, args, mode='clobber'), look(S),
        bring(S, command, args, mode='copy'), spoil(S),
        bring(S, command, args, mode='copy'), look(S),
        bring(S, command, args, patch=[1, BAD_PATCH]), look(S),
        bring(S, command, args, revision=old), look(S),
        bring(S, command, args), look(S),
    ]


def build_git(S):
    args = {'repourl': url(S, 'git'), 'branch': 'master', 'submodules': False, 'ignore_ignores': True,
            'reference': None, 'shallow': False, 'progress': False}
    old = 'first'
    none = dict(args, repourl=url(S, 'none'))
    return common(S, 'git', args, old) + more(S, 'git', args, old) + [
        bring(S, 'git', args, branch='side', ignore_ignores=False), look(S),
        bring(S, 'git', args, mode='clobber', branch='none'), look(S),
        bring(S, 'git', args, mode='clobber', submodules=True, progress=True), look(S), spoil(S),
        bring(S, 'git', args, submodules=True), look(S),
        bring(S, 'git', args, mode='clobber', shallow=True), look(S),
        bring(S, 'git', args, mode='clobber', shallow=True, reference=url(S, 'git/.git')),
        bring(S, 'git', args, mode='clobber', reference=url(S, 'git/.git')), look(S),
        bring(S, 'git', args, branch='none', gerrit_branch='side'), look(S),
        bring(S, 'git', none, mode='clobber'),
        bring(S, 'git', args, revision='0123456789012345678901234567890123456789'),
        S.source('Git', repourl=args['repourl'], mode='update'), look(S),
    ]


def build_svn(S):
    args = {'svnurl': 'file://' + url(S, 'svn/trunk')}
    none = {'svnurl': 'file://' + url(S, 'none')}
    return common(S, 'svn', args, '2') + more(S, 'svn', args, '2') + [
        bring(S, 'svn', args, mode='export'), look(S),
        bring(S, 'svn', args, mode='export', revision='2'), look(S),
        bring(S, 'svn', args), spoil(S),
        bring(S, 'svn', args, always_purge=True, ignore_ignores=False, keep_on_purge=['left']), look(S),
        bring(S, 'svn', args, always_purge=True), look(S),
        bring(S, 'svn', args, mode='clobber', username='me', password='secret', depth='infinity',
              extra_args=['--ignore-externals']), look(S),
        bring(S, 'svn', none), look(S),
        S.source('SVN', svnurl=args['svnurl'], mode='copy'), look(S),
    ]


def build_cvs(S):
    args = {'cvsroot': url(S, 'cvs'), 'cvsmodule': 'module', 'branch': None, 'global_options': ['-q'],
            'checkout_options': ['-P'], 'export_options': ['-kv'], 'extra_options': []}
    return common(S, 'cvs', args, 'now') + [
        bring(S, 'cvs', args, mode='export', revision='now'), look(S),
        bring(S, 'cvs', args, branch='side'), look(S),
        bring(S, 'cvs', args, branch='side'), look(S),
        bring(S, 'cvs', args, cvsmodule='none', mode='clobber'), look(S),
        S.source('CVS', cvsroot=args['cvsroot'], cvsmodule='module', mode='update'), look(S),
    ]


def build_hg(S):
    args = {'repourl': url(S, 'hg'), 'clobberOnBranchChange': True, 'branchType': 'dirname'}
    inrepo = dict(args, branchType='inrepo', branch='side')
    return common(S, 'hg', args, '0') + [
        bring(S, 'hg', inrepo), look(S), spoil(S),
        bring(S, 'hg', inrepo, branch='default', clobberOnBranchChange=False), look(S), spoil(S),
        bring(S, 'hg', inrepo), look(S),
        bring(S, 'hg', args, repourl=url(S, 'none')), look(S),
        S.source('Mercurial', repourl=args['repourl'], mode='update'), look(S),
    ]


def build_bzr(S):
    args = {'repourl': url(S, 'bzr'), 'forceSharedRepo': None}
    return common(S, 'bzr', args, '1') + [
        bring(S, 'bzr', args, mode='clobber', forceSharedRepo=True), look(S),
        bring(S, 'bzr', args, forceSharedRepo=True), look(S),
        bring(S, 'bzr', args, repourl=url(S, 'none')), look(S),
        S.source('Bzr', repourl=args['repourl'], mode='update'), look(S),
    ]


def build_darcs(S):
    args = {'repourl': url(S, 'darcs')}
    context = open(url(S, 'darcs-context'), 'rb').read()
    return common(S, 'darcs', args, context) + more(S, 'darcs', args, context) + [
        bring(S, 'darcs', args, repourl=url(S, 'none')), look(S),
        S.source('Darcs', repourl=args['repourl'], mode='update'), look(S),
    ]


def build_standins(S):
    """programs that only record what they are asked"""
    mtn = {'repourl': 'mtn://host/path', 'branch': 'org.example', 'progress': False}
    p4 = {'p4port': 'host:1666', 'p4user': 'me', 'p4passwd': 'secret', 'p4client': 'client', 'p4base': '//depot/',
          'branch': 'trunk', 'p4extra_views': [['//depot/more', 'more']], 'p4line_end': 'unix', 'mode': 'copy'}
    bk = {'bkurl': 'http://host/bk', 'extra_args': ['-q']}
    repo = {'manifest_url': 'git://host/manifests', 'manifest_branch': 'main', 'manifest_file': 'a.xml',
            'tarball': None, 'repo_downloads': None}
    return [
        bring(S, 'mtn', mtn), look(S),
        bring(S, 'mtn', mtn, revision='t:1.0', progress=True), look(S),
        bring(S, 'mtn', mtn, mode='clobber', revision='t:1.0'), look(S),
        bring(S, 'p4', p4), look(S),
        bring(S, 'p4', p4, revision='42'), look(S),
        bring(S, 'p4', p4, p4extra_views=None, p4line_end=None, branch=None, mode='clobber'), look(S),
        bring(S, 'p4sync', p4, mode='copy'), look(S),
        bring(S, 'p4sync', p4, mode='copy', revision='42'), look(S),
        bring(S, 'bk', bk, mode='clobber'), look(S),
        bring(S, 'bk', bk), look(S),
        bring(S, 'bk', bk, mode='clobber', revision='1.2'), look(S),
        bring(S, 'repo', repo, mode='clobber'), look(S),
        bring(S, 'repo', repo, repo_downloads=['project 3964/7']), look(S),
    ]


def build_mended(S):
    """what the own slave gets wrong"""
    git = {'repourl': url(S, 'git'), 'branch': 'master'}
    svn = {'svnurl': 'file://' + url(S, 'svn/trunk')}
    bzr = {'repourl': url(S, 'bzr')}
    none = {'svnurl': 'file://' + url(S, 'none')}
    return [
        bring(S, 'git', git, 'patch-below', patch=[0, PATCH_BELOW, 'sub']), look(S),
        bring(S, 'git', git, 'no-branch', branch='none'), look(S),
        bring(S, 'git', git, 'git-retry', repourl=url(S, 'none'), mode='clobber', retry=[0, 2]),
        bring(S, 'svn', none, 'svn-retry', mode='clobber', retry=[0, 2]),
        bring(S, 'svn', none, 'export-none', mode='export'),
        bring(S, 'svn', svn, 'partial', depth='files', mode='clobber'),
        bring(S, 'bzr', bzr, 'export', mode='export'), look(S),
        bring(S, 'bzr', bzr, 'export-again', mode='export'), look(S),
        bring(S, 'git', git, 'attached', mode='clobber'), S.sh('git checkout -q --detach', alwaysRun=True),
        bring(S, 'git', git, 'detached'),
    ]


def build_hanging(S):
    """a program that does not end by itself"""
    return [bring(S, 'bk', {'bkurl': 'hang'})]


def build_git_once(S):
    return [bring(S, 'git', {'repourl': url(S, 'git')})]


def build_git_step(S):
    """the master's own step; a 4.3 master has no other"""
    return [S.git(url(S, 'git'))]


def build_svn_once(S):
    return [bring(S, 'svn', {'svnurl': 'file://' + url(S, 'svn/trunk')})]


def build_hg_once(S):
    return [bring(S, 'hg', {'repourl': url(S, 'hg')})]


def build_cvs_once(S):
    return [bring(S, 'cvs', {'cvsroot': url(S, 'cvs'), 'cvsmodule': 'module'})]


def build_bzr_once(S):
    return [bring(S, 'bzr', {'repourl': url(S, 'bzr')})]


def build_darcs_once(S):
    return [bring(S, 'darcs', {'repourl': url(S, 'darcs')})]
