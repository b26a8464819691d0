"""The file `buildbot.tac` of a slave of Buildbot's, which is read and never run.

Rules.

* Nothing in it is executed. A value is a literal, a name that such a value was given to, a variable of the environment,
  the contents of a file, or one of the few expressions that make one of another (`_Values`).
* What the slave needs and is no such value is an error with its line. All else that is not read, or is not obeyed, is a
  remark with its line: nothing is passed over in silence but what the programs themselves write into such a file.
* Exactly one slave is made in it. Its base directory is the one in which the file lies.
* A password that stands in a variable or a file is left there.

Source: the templates and constructors of buildslave 0.8.4 to 0.8.14 and buildbot-worker 0.9 to 4.3.0.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.toml_document import At, Document
from slaveproto.cli.endpoints import parse_endpoint, proxy_of
from slaveproto.cli.settings import SETTINGS, TAC
from slaveproto.records import record

LARGEST: Final = 1_000_000
"""Bytes of a file that is worth reading."""

_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "BuildSlave": (
        "buildmaster_host", "port", "name", "passwd", "basedir", "keepalive", "usePTY", "keepaliveTimeout", "umask",
        "maxdelay",
    ),
    # What follows depends on the version.
    "Worker": ("buildmaster_host", "port", "name", "passwd", "basedir", "keepalive"),
}  # fmt: skip
"""Names of a constructor's arguments, by their places."""

_OF_TWISTED: Final = frozenset({"buildbot", "buildslave", "buildbot_worker", "twisted", "zope"})
_HARMLESS: Final = frozenset({"__future__", "fnmatch", "io", "os", "pathlib", "socket", "sys"}) | _OF_TWISTED
"""Packages that may be imported without a remark."""

_LOGGING: Final = frozenset({"setComponent", "setServiceParent"})
"""Methods that every such file calls."""

_OCTAL: Final = re.compile(r"(?<![\w.])0([0-7]+)(?![\w.])")
_TEXT: Final = re.compile(r"('''|\"\"\")(?s:.*?)\1|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|#[^\n]*")


@record
class Tac:
    """Contents of such a file.

    Args:
        settings: fields of `Settings`, checked.
        remarks: lines for people about what was not read and what is not obeyed.
    """

    settings: Mapping[str, Any]
    remarks: tuple[str, ...]


@record
class _Value:
    """A value, and where it stands if that is not the file itself."""

    value: Any
    variable: str | None = None
    file: str | None = None


class _Unclear(Exception):
    """An expression is more than is read here."""


def read_tac(basedir: str, environment: Mapping[str, str]) -> Tac:
    """Read the file of a base directory.

    Args:
        basedir: an absolute path.
        environment: variables that the file may name.

    Raises:
        UsageError: it cannot be read, or the slave that it makes cannot be ours.
    """
    path = os.path.join(basedir, TAC)
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST).decode("utf-8", "surrogateescape")
        # Numbers in octal as Python 2 writes them.
        tree = ast.parse(_outside_of_texts(text, lambda code: _OCTAL.sub(r"0o\1", code)))
        return _TacReader(path, basedir, environment).read(tree)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except SyntaxError as error:
        raise UsageError(f"{path}:{error.lineno or 1}: is no Python that can be read here: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None


def _outside_of_texts(source: str, change: Callable[[str], str]) -> str:
    """Change what is neither a string nor a comment."""
    changed, at = [], 0
    for found in _TEXT.finditer(source):
        changed += [change(source[at : found.start()]), found[0]]
        at = found.end()
    return "".join([*changed, change(source[at:])])


class _Values:
    """Values of expressions.

    Args:
        basedir: that relative paths are meant from.
        environment: variables.
    """

    def __init__(self, basedir: str, environment: Mapping[str, str]) -> None:
        self.names: dict[str, _Value | None] = {"__file__": _Value(os.path.join(basedir, TAC))}
        """Values of names; None for one whose value is unclear."""
        self._basedir = basedir
        self._environment = environment

    def of(self, node: ast.expr) -> _Value:
        """Return the value of an expression.

        Raises:
            _Unclear: it is none of those that are read here.
        """
        match node:
            case ast.Constant():
                return _Value(node.value)
            case ast.Name(id=name):
                found = self.names.get(name)
                if found is not None:
                    return found
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                number = self.of(operand).value
                if isinstance(number, (int, float)):
                    return _Value(-number)
            case ast.BinOp(op=ast.Add() | ast.Mult() as operator, left=left, right=right):
                return self._of_two(operator, self.of(left).value, self.of(right).value)
            case ast.BoolOp(op=ast.Or(), values=values):
                for each in values:
                    if (first := self.of(each)).value:
                        return first
            case ast.JoinedStr(values=values):
                return _Value("".join(map(self._of_part, values)))
            case ast.Subscript(value=whole, slice=key) if ast.unparse(whole) in ("os.environ", "environ"):
                return self._variable(self._text(key), None)
            case ast.Call():
                return self._of_call(node)
            case _:
                pass
        raise _Unclear

    def _of_two(self, operator: ast.operator, left: Any, right: Any) -> _Value:
        if isinstance(left, str) and isinstance(right, str) and isinstance(operator, ast.Add):
            return _Value(left + right)
        if type(left) is int and type(right) is int and max(abs(left), abs(right)) < LARGEST:
            return _Value(left + right if isinstance(operator, ast.Add) else left * right)
        raise _Unclear

    def _of_part(self, node: ast.expr) -> str:
        if isinstance(node, ast.FormattedValue):
            if node.format_spec is not None or node.conversion != -1:
                raise _Unclear
            return str(self.of(node.value).value)
        return self._text(node)

    def _text(self, node: ast.expr) -> str:
        found = self.of(node).value
        if not isinstance(found, str):
            raise _Unclear
        return found

    def _of_call(self, node: ast.Call) -> _Value:
        called, arguments = ast.unparse(node.func), node.args
        match called, len(arguments):
            case (("os.environ.get" | "environ.get" | "os.getenv" | "getenv"), 1 | 2):
                default = self.of(arguments[1]) if arguments[1:] else _Value(None)
                return self._variable(self._text(arguments[0]), default)
            case (("int" | "str"), 1) if not node.keywords:
                return self._converted(called, self.of(arguments[0]))
            case "os.getcwd", 0:
                return _Value(self._basedir)
            case (("os.path.abspath" | "os.path.realpath"), 1):
                return _Value(os.path.join(self._basedir, self._text(arguments[0])))
            case "os.path.dirname", 1:
                return _Value(os.path.dirname(self._text(arguments[0])))
            case "os.path.join", count if count:
                return _Value(os.path.join(*map(self._text, arguments)))
            case _:
                return self._of_method(node)

    def _of_method(self, node: ast.Call) -> _Value:
        """Return the value of `open(...).read()`, `Path(...).read_text()` and what strips a text."""
        if not isinstance(node.func, ast.Attribute):
            raise _Unclear
        inner = node.func.value
        match node.func.attr:
            case "strip" | "rstrip" as method:
                found = self.of(inner)
                if isinstance(found.value, str) and len(node.args) <= 1:
                    chars = self._text(node.args[0]) if node.args else None
                    return _Value(getattr(found.value, method)(chars), found.variable, found.file)
            case "read" | "read_text" as method if isinstance(inner, ast.Call) and not node.args:
                opener = ast.unparse(inner.func)
                if opener in (("open", "io.open") if method == "read" else ("Path", "pathlib.Path")) and inner.args:
                    return self._contents(self._text(inner.args[0]))
            case _:
                pass
        raise _Unclear

    def _variable(self, name: str, default: _Value | None) -> _Value:
        if name in self._environment:
            return _Value(self._environment[name], variable=name)
        if default is None:
            raise UsageError(f"the variable {name} is not set")
        return default

    def _contents(self, name: str) -> _Value:
        path = os.path.join(self._basedir, name)
        try:
            with open(path, "rb") as file:
                return _Value(file.read(LARGEST).decode(), file=path)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"{path}: not UTF-8") from None

    def _converted(self, kind: str, found: _Value) -> _Value:
        try:
            return _Value(int(found.value) if kind == "int" else str(found.value), found.variable, found.file)
        except (TypeError, ValueError):
            raise _Unclear from None


class _TacReader:
    """Reader of one file."""

    def __init__(self, path: str, basedir: str, environment: Mapping[str, str]) -> None:
        self._path = path
        self._basedir = basedir
        self._values = _Values(basedir, environment)
        self._remarks: list[str] = []
        # The call that makes the slave, with what its arguments mean where it stands.
        self._slaves: list[tuple[ast.Call, dict[str, _Value | ast.expr]]] = []

    def read(self, tree: ast.Module) -> Tac:
        self._run_over(tree.body)
        if not self._slaves:
            raise UsageError(f"{self._path}: makes no slave that can be read here (BuildSlave or Worker)")
        if len(self._slaves) > 1:
            lines = ", ".join(str(call.lineno) for call, _ in self._slaves)
            raise UsageError(f"{self._path}: makes {len(self._slaves)} slaves (lines {lines}), and we can be one only")
        ((call, arguments),) = self._slaves
        settings = _Arguments(self._path, self._basedir, call, self._remarks).settings(arguments)
        return Tac(settings, tuple(self._remarks))

    def _remark(self, node: ast.stmt, words: str = "") -> None:
        code = ast.unparse(node).partition("\n")[0]
        shown = code if len(code) <= 60 else f"{code[:57]}..."
        self._remarks.append(f"{self._path}:{node.lineno}: {words or 'not run'}: {shown}")

    def _run_over(self, body: list[ast.stmt]) -> None:
        for node in body:
            self._look_at(node)

    def _look_at(self, node: ast.stmt) -> None:
        match node:
            case ast.Import(names=names):
                if any(alias.name.partition(".")[0] not in _HARMLESS for alias in names):
                    self._remark(node)
            case ast.ImportFrom(module=module, names=names):
                if (module or "").partition(".")[0] not in _HARMLESS:
                    self._remark(node)
                    self._forget(node)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._find_slaves(value)
                self._assign(name, value, node)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call() as call):
                made = self._find_slaves(call)
                if not made and not (isinstance(call.func, ast.Attribute) and call.func.attr in _LOGGING):
                    self._remark(node)
            case ast.Try(body=body):
                # Old files try for a log file.
                self._run_over(body)
            case ast.If(test=test, body=body) if ast.unparse(test) == "basedir == '.'":
                # A file that can be moved: it lies in its base directory, whatever that is called.
                pass
            case _:
                self._remark(node)
                self._forget(node)

    def _forget(self, node: ast.stmt) -> None:
        """Note that the values of the names that a statement may give are unclear."""
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                self._values.names[each.id] = None
            elif isinstance(each, ast.alias):
                self._values.names[each.asname or each.name] = None

    def _assign(self, name: str, value: ast.expr, node: ast.stmt) -> None:
        try:
            self._values.names[name] = self._values.of(value)
        except _Unclear:
            self._values.names[name] = None
        except UsageError as error:
            raise UsageError(f"{self._path}:{node.lineno}: {name}: {error}") from None

    def _find_slaves(self, node: ast.expr) -> bool:
        found = False
        for each in ast.walk(node):
            if isinstance(each, ast.Call) and ast.unparse(each.func).rpartition(".")[2] in _PLACES:
                self._slaves.append((each, dict(self._arguments(each))))
                found = True
        return found

    def _arguments(self, call: ast.Call) -> Iterator[tuple[str, _Value | ast.expr]]:
        """Give the arguments with their values, or as they are where these are unclear."""
        kind = ast.unparse(call.func).rpartition(".")[2]
        places = _PLACES[kind]
        if any(isinstance(each, ast.Starred) for each in call.args) or any(each.arg is None for each in call.keywords):
            raise UsageError(f"{self._path}:{call.lineno}: the arguments of {kind} are not all written out")
        for place, node in enumerate(call.args):
            if place < len(places):
                yield places[place], self._value(node)
            else:
                words = f"argument {place + 1} of {kind} is not read, for versions differ: {ast.unparse(node)}"
                self._remarks.append(f"{self._path}:{node.lineno}: {words}")
        for keyword in call.keywords:
            yield keyword.arg or "", self._value(keyword.value)

    def _value(self, node: ast.expr) -> _Value | ast.expr:
        try:
            return self._values.of(node)
        except _Unclear:
            return node


class _Arguments:
    """Arguments of the call that makes the slave, as settings of ours.

    Args:
        path: of the file.
        basedir: in which it lies.
        call: the call.
        remarks: takes remarks.
    """

    def __init__(self, path: str, basedir: str, call: ast.Call, remarks: list[str]) -> None:
        self._path = path
        self._basedir = basedir
        self._call = call
        self._remarks = remarks

    def settings(self, arguments: Mapping[str, _Value | ast.expr]) -> dict[str, Any]:
        """Return the settings; raises UsageError."""
        settings: dict[str, Any] = {}
        for name, value in arguments.items():
            if isinstance(value, _Value):
                settings |= self._of(name, value)
            elif name in ("buildmaster_host", "port", "name", "passwd"):
                words = f"{name} is no value that can be read without running code: {ast.unparse(value)}"
                raise UsageError(f"{self._path}:{value.lineno}: {words}")
            elif name not in ("basedir", "keepaliveTimeout"):
                self._remark(f"{name} is not read, and left as it is by default: {ast.unparse(value)}")
        missing = [key for key in ("host", "port", "name", "password") if settings.get(key) in (None, "")]
        if missing:
            raise self._mistake(f"{', '.join(missing)} missing")
        checked = {key: self._checked(key, value) for key, value in settings.items()}
        if settings.get("tls_key") and not settings.get("tls_cert"):
            raise self._mistake("a private key without its certificate")
        return checked

    def _remark(self, words: str) -> None:
        self._remarks.append(f"{self._path}:{self._call.lineno}: {words}")

    def _mistake(self, words: str) -> UsageError:
        return UsageError(f"{self._path}:{self._call.lineno}: {words}")

    def _checked(self, key: str, value: Any) -> Any:
        at = At(Document(self._path, "", {}), name=key)
        try:
            return SETTINGS[key].kind(at, value)
        except UsageError as error:
            words = str(error).removeprefix(f"{self._path}: ")
            raise self._mistake(words) from None

    def _of(self, name: str, found: _Value) -> dict[str, Any]:
        """Return what an argument means."""
        value = found.value
        match name:
            case "buildmaster_host":
                return {} if value is None else {"host": value}
            case "port":
                # Variables are text.
                is_number = isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value)
                return {} if value is None else {"port": int(value) if is_number else value}
            case "name":
                return {"name": value}
            case "passwd":
                return self._password(found)
            case "usePTY" | "usepty":
                return {} if value is None else {"use_pty": bool(value)}
            case "umask" | "numcpus":
                return {} if value is None else {name: value}
            case "maxdelay":
                return {} if value is None else {"max_delay": value}
            case "maxRetries":
                return {} if value is None else {"max_retries": value}
            case "delete_leftover_dirs":
                return {"delete_leftover_dirs": bool(value)}
            case "useTls":
                return {"tls": True} if value else {}
            case "keepalive":
                return self._keepalive(value)
            case "allow_shutdown":
                return self._allow_shutdown(value)
            case "connection_string" | "proxy_connection_string":
                return {} if value is None else self._endpoint(name, value)
            case "protocol":
                if value != "pb":
                    raise self._mistake(f"protocol {value!r} is not spoken here, only 'pb'")
                return {}
            case "basedir":
                self._look_at_basedir(value)
                return {}
            case "keepaliveTimeout":
                # No version looks at it.
                return {}
            case _:
                if value is not None:
                    self._remark(f"{name} = {value!r} is not obeyed here")
                return {}

    def _password(self, found: _Value) -> dict[str, Any]:
        settings: dict[str, Any] = {"password": found.value}
        if found.variable is not None:
            settings["password_environment"] = found.variable
        elif found.file is not None:
            if "\n" in found.value.strip():
                raise UsageError(f"{found.file}: has more than the line of a password")
            settings["password_file"] = os.path.relpath(found.file, self._basedir)
        return settings

    def _keepalive(self, value: Any) -> dict[str, Any]:
        if value == OLD_KEEPALIVE:
            self._remark(f"keepalive = {OLD_KEEPALIVE} is the default there; here it is that of slaveproto")
            return {}
        return {"keepalive": value or 0}

    def _allow_shutdown(self, value: Any) -> dict[str, Any]:
        if value in ("signal", "file"):
            return {"allow_shutdown": value}
        if value:
            self._remark(f"allow_shutdown = {value!r} does nothing, there and here; 'signal' and 'file' do")
        return {}

    def _endpoint(self, name: str, value: Any) -> dict[str, Any]:
        try:
            endpoint = parse_endpoint(str(value))
            return endpoint if name == "connection_string" else {"proxy": proxy_of(endpoint)}
        except ValueError as error:
            raise self._mistake(f"{name}: {error}") from None

    def _look_at_basedir(self, value: Any) -> None:
        if isinstance(value, str) and os.path.isabs(value) and not _is_same(value, self._basedir):
            self._remark(f"basedir = {value!r} is another directory; the one of this file is used")


OLD_KEEPALIVE: Final = 600
"""Seconds that `create-slave` and `create-worker` write if they are told nothing else."""


def _is_same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return os.path.normpath(path) == os.path.normpath(other)
