# -*- coding: utf-8 -*-
"""The builders of the test masters; runs in Python 2.7 and 3.

S (peer_shim) makes the steps of the master at hand.  Plain literals are byte strings in the
old master, as in a configuration of its time; both kinds look different on the wire.
"""
import peer_sources

IGNORE_SIGNALS = ("trap '' TERM INT HUP; i=0; while [ $i -lt 600 ]; do i=$((i+1));"
                  " echo line $i; sleep 0.5; done")
UNICODE = u'caf\u00e9 \u2603'


def steps(name, S):
    """-> the build steps of catalogue entry `name`"""
    return dict(vars(peer_sources), **globals())['build_' + name](S)


def build_first(S):
    return [
        S.sh('pwd; uname -s', name='look around', logEnviron=False),
        S.sh("echo 'echo hello from a real build' > hello; chmod +x hello", name='compile',
             logEnviron=False),
        S.sh('./hello', name='test', logEnviron=False),
    ]


def build_hello(S):
    return [
        S.sh(['echo', 'hello', 'world']),
        S.setprop('echo value-42', 'prop1'),
        S.sh(S.interp('echo prop1=%s name=%s', 'prop1', 'buildername')),
    ]


def build_shell(S):
    return [
        S.sh('echo the quick brown fox; echo to-stderr >&2; exit 3'),
        S.sh(['printf', '[%s]\\n', 'a b', 'q"uo\'te', '$HOME `x` *', '', '-n', 'back\\slash']),
        S.sh(['no-such-program-xyz', 'arg']),
        S.sh('no-such-program-in-shell'),
        S.sh('echo dying; kill -9 $$'),
        S.sh('true'),
        S.sh('echo unseen; echo seen >&2', want_stdout=False),
        S.sh('echo seen; echo unseen >&2', want_stderr=False),
        S.sh(['false'], flunkOnFailure=False, warnOnFailure=True),
        S.sh('pwd; exit 0', logEnviron=False),
        S.sh('pwd', workdir='other/dir'),
    ]


def build_output(S):
    return [
        S.sh("printf 'u8 \\303\\251 \\342\\230\\203 \\360\\237\\230\\200\\n'", logEnviron=False),
        S.sh("printf 'split \\342\\230'; sleep 1; printf '\\203 done\\n'", logEnviron=False),
        S.sh("head -c 10000 /dev/zero | tr '\\0' x", logEnviron=False),
        S.sh("printf 'a\\r\\nb\\rc\\n\\n\\nno newline at end'", logEnviron=False),
        S.sh("printf '\\033[31mred\\033[0m \\033[2J \\010\\010 bell\\007\\n'", logEnviron=False),
        S.sh("printf 'nul[\\000]\\n'", logEnviron=False),
    ]


def build_torn(S):
    """output that ends within a character, and within one of a log file"""
    return [S.sh("printf 'whole \\303\\251 torn \\342\\202'; printf 'log \\303' > torn.log; sleep 3",
                 logfiles={'torn': 'torn.log'}, logEnviron=False)]


def build_warnings(S):
    """of the new master only"""
    return [
        S.sh("echo 'a.c : left out' > suppressions", logEnviron=False),
        S.warnings("echo 'a.c:1: warning: left out'; echo 'b.c:2: warning: kept'", 'suppressions'),
    ]


def build_binary(S):
    every_byte = ''.join('\\%03o' % i for i in range(256))
    return [
        S.sh("printf 'l1 \\351\\350\\374\\n'", logEnviron=False, alwaysRun=True),
        S.sh("printf '%s'" % every_byte, logEnviron=False, alwaysRun=True),
        S.sh("printf 'err \\377\\376\\n' >&2; printf 'nul[\\000]\\n'", logEnviron=False,
             alwaysRun=True),
        S.sh("printf 'log \\377' > bin.log; sleep 3", logfiles={'bin': 'bin.log'},
             logEnviron=False, alwaysRun=True),
    ]


def build_unicode(S):
    return [
        S.sh([u'echo', u'arg', UNICODE], logEnviron=False),
        S.sh(u'echo "shell ' + UNICODE + u'"', logEnviron=False),
    ]


def build_env(S):
    env = {'FOO': 'bar', 'PATH': '/opt/first:${PATH}', 'LANG': None, 'EMPTY': '',
           'NESTED': 'home=${HOME} none=${NO_SUCH_VAR}.'}
    return [
        S.sh("env | grep -v -E '^(_|PWD|OLDPWD|SHLVL)=' | sort", env=env),
        S.sh('env | grep PYTHONPATH | sort', env={'PYTHONPATH': ['dir/a', '/dir/b']}),
        S.sh('env | grep ^X | sort', env={'X1': '${X2}', 'X2': 'x'}, logEnviron=False),
        S.sh('echo no env argument', logEnviron=False),
    ]


def build_envuni(S):
    return [
        S.sh('env | grep ^UNI=', env={'UNI': UNICODE}, logEnviron=False),
        S.sh('echo after', logEnviron=False),
    ]


def build_logfiles(S):
    return [
        S.sh('echo start; echo one > extra.log; echo alpha > second.log; sleep 3;'
             ' echo two >> extra.log; echo beta >> second.log; sleep 3;'
             " printf 'last, no newline' >> extra.log; echo end",
             logfiles={'extra': 'extra.log',
                       'second': {'filename': 'second.log', 'follow': True}}),
        S.sh('echo more >> second.log; sleep 3; echo appended >> second.log; sleep 3',
             logfiles={'followed': {'filename': 'second.log', 'follow': True},
                       'whole': 'second.log', 'never': 'no-such.log'}),
    ]


def build_lazylog(S):
    return [
        S.sh('echo only stdio', logfiles={'lazy': 'lazy.log'}, lazylogfiles=True),
        S.sh('echo content > lazy.log; sleep 3', logfiles={'lazy': 'lazy.log'}, lazylogfiles=True),
    ]


def build_timeout(S):
    return [
        S.sh('echo before; sleep 300; echo never', timeout=2),
        S.sh('echo next step'),
    ]


def build_maxtime(S):
    return [
        S.sh('while true; do echo tick; sleep 0.5; done', maxTime=3),
        S.sh('echo next step'),
    ]


def build_interrupt(S):
    return [
        S.sh('echo started; sleep 300; echo never', timeout=None),
        S.sh('echo not reached'),
    ]


def build_interrupt2(S):
    return [
        S.sh(IGNORE_SIGNALS, haltOnFailure=True),
        S.sh('echo always', alwaysRun=True),
    ]


def build_poison(S):
    # the parent of a command is its slave
    return [S.sh('kill -9 $PPID', logEnviron=False)]


def build_big(S):
    return [S.sh('seq 1 300000', logEnviron=False)]


def build_trickle(S):
    return [S.sh('i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo line $i;'
                 ' echo err $i >&2; sleep 1.5; done', logEnviron=False)]


def build_stdin(S):
    text = 'first line\nsecond line\n'
    return [
        S.stdin(['cat'], text),
        S.stdin('wc -c; echo done', text * 50),
    ]


def build_pty(S):
    return [
        S.sh('tty; echo out; echo err >&2; exit 4', usePTY=True, logEnviron=False),
        S.sh('test -t 1 && echo tty || echo notty', usePTY=False, logEnviron=False),
    ]


def build_obfuscated(S):
    return [S.sh(['echo', 'plain', ('obfuscated', 's3cret-dummy', 'XXXX')], logEnviron=False)]


def build_sigterm(S):
    on_term = "trap 'echo got TERM; exit 5' TERM; echo up; while true; do sleep 0.2; done"
    if S.generation == 'old':
        # 0.8.4p1 has neither sigtermTime nor interruptSignal nor max_lines
        return [S.sh(on_term, timeout=2)]
    return [
        S.sh(on_term, timeout=2, sigtermTime=4),
        S.sh("trap 'echo got INT; exit 6' INT; echo up; while true; do sleep 0.2; done", timeout=2,
             interruptSignal='INT'),
        S.sh('i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo $i; done; sleep 5', max_lines=100),
    ]


def build_unknown(S):
    return [
        S.raw('no-such-command', {'some': 'arg'}),
        S.sh('echo after', logEnviron=False, alwaysRun=True),
    ]


def build_badargs(S):
    return [
        S.raw('shell', {'workdir': 'build'}),
        S.raw('mkdir', {}),
        S.raw('shell', {'workdir': 'build', 'command': ['echo', 'bare minimum']}),
        S.raw('shell', {'workdir': 'build', 'command': ['echo', 'x'], 'timeout': 1.5,
                        'future_argument': [1, 2.5, None, True, 'x' * 70, -1, 2 ** 40]}),
        S.raw('shell', {'workdir': 'build', 'command': []}),
        S.sh('echo after', logEnviron=False, alwaysRun=True),
    ]


def build_props(S):
    return [
        S.envprops(['HOME', 'LANG', 'NOPE']),
        S.sh(S.interp('echo home=%s lang=%s', 'HOME', 'LANG'), logEnviron=False),
    ]


def slow(S, name):
    return [
        S.sh('i=0; while [ $i -lt 4 ]; do i=$((i+1)); echo %s $i; sleep 1; done' % name,
             logEnviron=False),
        S.sh('echo %s done' % name, logEnviron=False),
    ]


def build_slow1(S):
    return slow(S, 'slow1')


def build_slow2(S):
    return slow(S, 'slow2')


# What a tree looks like: names, permissions, sizes, times of the last change, targets of links
LOOK = ("find . -mindepth 1 \\( -type l -printf '%P -> %l\\n' \\)"
        " -o -printf '%P %M %n %s %TY-%Tm-%Td+%TT\\n' | sort")
MAKE_TREE = ('mkdir -p tree/sub/deep tree/empty tree/closed; echo one > tree/one; echo two > tree/sub/two;'
             ' head -c 70000 /dev/zero | tr "\\0" z > tree/sub/deep/big; : > tree/nothing;'
             ' ln -s one tree/link; ln -s ../one tree/sub/up; ln -s nowhere tree/dangling;'
             ' ln tree/one tree/again; echo in > tree/closed/in; chmod 640 tree/sub/two;'
             ' chmod 755 tree/one; ')
SET_TIMES = ('find tree -exec touch -h -d "2011-12-13 14:15:16 UTC" {} +; ')


def build_fs(S):
    return [
        S.raw('mkdir', {'dir': 'build/new'}),
        S.raw('mkdir', {'dir': 'build/a/b/c'}),
        S.raw('mkdir', {'dir': 'build/a'}),
        S.sh(MAKE_TREE + 'chmod 500 tree/closed; ' + SET_TIMES + 'cd tree; ' + LOOK, logEnviron=False),
        S.raw('mkdir', {'dir': 'build/tree/one/below'}),
        S.raw('stat', {'file': 'build/tree/one'}),
        S.raw('stat', {'file': 'build/tree/link'}),
        S.raw('stat', {'file': 'build/tree/sub'}),
        S.raw('stat', {'file': 'build/none'}),
        S.raw('cpdir', {'fromdir': 'build/tree', 'todir': 'build/x/y/copy', 'timeout': 120}),
        S.sh('cd x/y/copy; ' + LOOK, logEnviron=False),
        S.raw('cpdir', {'fromdir': 'build/tree', 'todir': 'build/new', 'timeout': 120}),
        S.raw('cpdir', {'fromdir': 'build/none', 'todir': 'build/new2', 'timeout': 120}),
        S.raw('cpdir', {'fromdir': 'build/tree/sub', 'todir': 'build/tree/sub/inside', 'timeout': 120}),
        S.raw('cpdir', {'fromdir': 'build/tree/one', 'todir': 'build/new/uno', 'timeout': 120}),
        S.sh('find . | sort', logEnviron=False),
        S.raw('rmdir', {'dir': 'build/x', 'timeout': 120}),
        S.raw('rmdir', {'dir': 'build/tree/link', 'timeout': 120}),
        S.raw('rmdir', {'dir': 'build/tree/one', 'timeout': 120}),
        S.raw('rmdir', {'dir': 'build/none', 'timeout': 120}),
        S.raw('rmdir', {'dir': 'build/new/tree', 'timeout': 120}),
        S.sh('find . | sort', logEnviron=False),
    ]


def build_newcmds(S):
    """what 0.8.4 does not know"""
    return [
        S.sh(MAKE_TREE, logEnviron=False),
        S.raw('glob', {'path': 'build/tree/*e'}),
        S.raw('glob', {'path': 'build/tree/**/two'}),
        S.raw('glob', {'path': 'build/none*'}),
        S.raw('listdir', {'dir': 'build/tree/empty'}),
        S.raw('listdir', {'dir': 'build/tree/sub/deep'}),
        S.raw('listdir', {'dir': 'build/none'}),
        S.raw('listdir', {'dir': 'build/tree/one'}),
        S.raw('stat', {'file': 'one', 'workdir': 'build/tree'}),
        S.raw('rmfile', {'path': 'build/tree/one'}),
        S.raw('rmfile', {'path': 'build/tree/link'}),
        S.raw('rmfile', {'path': 'build/none'}),
        S.raw('rmfile', {'path': 'build/tree/sub'}),
        S.raw('rmdir', {'dir': ['build/tree/sub', 'build/none', 'build/tree/empty']}),
        S.raw('rmdir', {'dir': []}),
        S.raw('glob', {'path': 'build/./*/'}),
        S.sh('find . | sort', logEnviron=False),
    ]


def build_upload(S):
    return [
        S.sh('seq 100001 120000 | head -c 100000 > data; head -c 16384 data > block; : > empty;'
             ' seq 1 300000 > large; touch -d "2011-12-13 14:15:16.5 UTC" data; mkdir d', logEnviron=False),
        S.upload('data', 'data', keepstamp=True, mode=0o640),
        S.upload('block', 'in/side/block', mode=0o755),
        S.upload('empty', 'empty'),
        S.upload('large', 'large', blocksize=640000),
        S.upload('block', 'tiny', blocksize=1000),
        S.upload('data', 'cut', maxsize=20000),
        S.upload('block', 'exact', maxsize=16384),
        S.upload('none', 'none'),
        S.upload('d', 'directory'),
        S.sh('cat large block empty | sha256sum', logEnviron=False),
        S.master_sh('cat large block 2> /dev/null in/side/block tiny exact empty | wc -c;'
                    ' cat large in/side/block empty | sha256sum; sha256sum large empty; cmp tiny in/side/block;'
                    ' head -c 20000 data | cmp - cut; '
                    "find . -type f -printf '%P %M %s\\n' | sort; find data -printf '%TY-%Tm-%Td+%TT\\n'"),
    ]


def build_dirupload(S):
    return [
        S.sh(MAKE_TREE + SET_TIMES, logEnviron=False),
        S.upload_dir('tree', 'plain'),
        S.upload_dir('tree', 'gz', compress='gz'),
        S.upload_dir('tree', 'bz2', compress='bz2', blocksize=1000),
        S.upload_dir('tree/empty', 'empty'),
        S.master_sh('for i in plain gz bz2 empty; do echo $i; cd $i;' + LOOK + '; cd ..; done;'
                    ' cat */sub/two */closed/in; cmp plain/sub/deep/big bz2/sub/deep/big; ls'),
        S.upload_dir('none', 'none'),
    ]


def build_download(S):
    return [
        S.master_sh('seq 100001 120000 | head -c 100000 > data; sha256sum data > sum; seq 1 300000 > large; : > empty'),
        S.sh('echo old > present; chmod 751 present; mkdir d', logEnviron=False),
        S.download('data', 'data', mode=0o640),
        S.download('sum', 'sum'),
        S.download('large', 'new/dirs/large', blocksize=640000),
        S.download('large', 'small-blocks', blocksize=1000),
        S.download('empty', 'present'),
        S.download('data', 'cut', maxsize=20000),
        S.download('data', 'exact', maxsize=100000),
        S.download('data', 'above', maxsize=100001),
        S.download('data', 'd'),
        S.download_string('a string\n', 'string', mode=0o600),
        S.download_string('', 'empty-string'),
        S.sh('sha256sum -c sum; sha256sum new/dirs/large small-blocks; head -c 20000 data | cmp - cut;'
             " cmp data exact; cmp data above; cat string; find . -type f -printf '%P %M %s\\n' | sort",
             logEnviron=False),
    ]


def build_cuts(S):
    """something of everything that passes a link; tests/cuts cuts the link in the middle"""
    return [
        S.master_sh('rm -rf ./*; seq 1 200000 > large'),
        S.sh('rm -rf ./*; seq 200001 400000 > data; mkdir -p tree/sub/empty; seq 1 100000 > tree/sub/many;'
             ' echo one > tree/one; chmod 750 tree/one; : > tree/nothing', logEnviron=False),
        S.sh('i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; echo error $i >&2; sleep 0.03; done',
             logEnviron=False),
        S.sh('seq 1 200000', logEnviron=False),
        S.upload('data', 'data'),
        S.download('large', 'large'),
        S.upload_dir('tree', 'tree'),
        S.sh('sha256sum large data; rm large; exit 1', logEnviron=False),
        S.stdin(['wc', '-c'], 'a line of input\n' * 1000),
    ]


def build_checksum(S):
    """the command of examples/own_command.py"""
    return [
        S.sh('seq 1 300000 > data', logEnviron=False),
        S.raw('checksum', {'file': 'build/data'}),
        S.raw('checksum', {'file': 'build/none'}),
        S.raw('checksum', {}),
    ]


def build_much(S):
    """what is too much for a comparison with the own slaves; the test makes the files"""
    return [S.sh('cat ' + name, logEnviron=False) for name in ('line', 'characters', 'noise')] + [
        # in time to be sent together
        S.sh('cat half; sleep 0.02; cat rest', logEnviron=False),
    ]


# What benchmarks/transfers.py carries; it makes the files.
def build_up(S):
    return [S.upload('data', 'data')]


def build_down(S):
    return [S.download('data', 'data')]


def build_updir(S):
    return [S.upload_dir('data', 'data')]


# What benchmarks/output.py prints; it makes the file.
def build_cat(S):
    return [S.sh('cat data', logEnviron=False)]


# What rows 5 and 8 of `python -m benchmarks` build.
def build_lines(S):
    return [S.sh('date +%s.%N > began; cat data', logEnviron=False)]


def build_trivial(S):
    return [S.sh('true', logEnviron=False) for _ in range(20)]
