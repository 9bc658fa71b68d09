"""Just enough of ClickHouse's lexer to find where a statement's clauses stand. Pure; works on bytes.

The engine parses the SQL; this only finds the places where the front has to insert something: the output file of a
SELECT, the input file of an INSERT whose data follows the statement in the same body.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from local.clickhouse.errors import SYNTAX_ERROR, refusal

_TOKEN = re.compile(
    rb"""
    (?P<space>      [\s\x00\x0b]+ | --[^\n]* | \#[ !][^\n]* )
  | (?P<comment>    /\* )
  | (?P<string>     '(?:[^'\\]|\\.|'')*' )
  | (?P<heredoc>    (\$\w*\$).*?\5 )
  | (?P<identifier> `(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*" )
  | (?P<word>       [A-Za-z_][A-Za-z0-9_]* )
  | (?P<number>     [0-9][A-Za-z0-9_.]* )
  | (?P<mark>       . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(rb"/\*|\*/")
_OPENING, _CLOSING = (b"(", b"[", b"{"), (b")", b"]", b"}")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL: `kind` is a group of the lexer, `depth` counts the open brackets around it."""

    kind: str
    text: bytes
    start: int
    end: int
    depth: int

    def is_word(self, *words: bytes) -> bool:
        return self.kind == "word" and self.text.upper() in words


def tokens(sql: bytes) -> Iterator[Token]:
    """The tokens of `sql` without white space and comments, lazily: what follows an INSERT may be binary."""
    depth = at = 0
    while match := _TOKEN.match(sql, at):
        at = _comment_end(sql, match.start()) if match.lastgroup == "comment" else match.end()
        if match.lastgroup in ("space", "comment"):
            continue
        text = match[0]
        depth -= text in _CLOSING
        yield Token(match.lastgroup or "", text, match.start(), match.end(), depth)
        depth += text in _OPENING


def _comment_end(sql: bytes, start: int) -> int:
    """Where the comment that opens at `start` closes; comments nest, and an open one runs to the end."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(sql, start):
        depth += 1 if mark[0] == b"/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)


@dataclass(frozen=True, slots=True)
class InsertWithData:
    """An INSERT whose rows follow it: its target, its SETTINGS clause or nothing, and where its data starts."""

    target: bytes
    settings: bytes
    format: str
    data_start: int


def insert_with_data(sql: bytes) -> InsertWithData | None:
    """Splits `INSERT … FORMAT X <data>`; None for any other statement, or when the head is not complete."""
    if not _is_insert(sql):
        return None
    stream = tokens(sql)
    target_end = None
    for token in stream:
        if token.depth == 0 and token.is_word(b"SELECT", b"WITH", b"VALUES", b"INFILE"):
            return None
        if token.depth == 0 and target_end is None and token.is_word(b"SETTINGS"):
            target_end = token.start
        if token.depth == 0 and token.is_word(b"FORMAT"):
            name = next(stream, None)
            if name is None or name.kind != "word":
                return None
            target_end = token.start if target_end is None else target_end
            settings = sql[target_end : token.start]
            return InsertWithData(sql[:target_end], settings, name.text.decode(), _data_start(sql, name.end))
    return None


def _is_insert(sql: bytes) -> bool:
    first = next(tokens(sql), None)
    return first is not None and first.is_word(b"INSERT")


def _data_start(sql: bytes, end: int) -> int:
    """ClickHouse skips blanks and one line break behind the format's name."""
    while sql[end : end + 1] in (b" ", b"\t", b";"):
        end += 1
    return end + len(re.match(rb"\r?\n?", sql[end : end + 2])[0])  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: `head` up to its FORMAT clause (or its end), `tail` from there without a final semicolon."""

    keyword: str
    head: bytes
    tail: bytes
    format: str | None

    @property
    def is_select(self) -> bool:
        return self.keyword == "SELECT"


def parse(sql: bytes) -> Statement:
    """Finds the kind, the end and the output format of a single statement.

    Raises ClickHouseError (62) when there is none, or a second one behind a semicolon.
    """
    if _is_insert(sql):
        return Statement("INSERT", sql, b"", None)  # its VALUES are the engine's to read, and may be long
    found = list(tokens(sql))
    _only_one(found)
    while found and found[-1].text == b";":
        found.pop()
    if not found:
        raise refusal(SYNTAX_ERROR, "Empty query", "SYNTAX_ERROR")
    end = found[-1].end
    clause = _format_clause(found)
    keyword = _keyword(found)
    if clause is None:
        return Statement(keyword, sql[:end], b"", None)
    return Statement(keyword, sql[: clause.start], sql[clause.start : end], _name_behind(found, clause))


def _only_one(found: list[Token]) -> None:
    ended = False
    for token in found:
        if token.text == b";":
            ended = True
        elif ended:
            reason = f"Syntax error (Multi-statements are not allowed): failed at position {token.start + 1}"
            raise refusal(SYNTAX_ERROR, reason, "SYNTAX_ERROR")


def _keyword(found: list[Token]) -> str:
    first = next(token for token in found if token.text != b"(")
    word = first.text.decode(errors="replace").upper()
    if word in ("WITH", "FROM"):
        inserts = any(token.depth == 0 and token.is_word(b"INSERT") for token in found)
        return "INSERT" if inserts else "SELECT"
    return word


def _format_clause(found: list[Token]) -> Token | None:
    """The last `FORMAT x` outside brackets, if nothing but settings follows it."""
    for at in range(len(found) - 2, -1, -1):
        token = found[at]
        if token.depth == 0 and token.is_word(b"FORMAT") and found[at + 1].kind == "word":
            rest = found[at + 2 :]
            return token if not rest or rest[0].is_word(b"SETTINGS", b"INTO") else None
    return None


def _name_behind(found: list[Token], clause: Token) -> str:
    return found[found.index(clause) + 1].text.decode()


def writes_outfile(sql: bytes) -> bool:
    """Whether the statement asks for `INTO OUTFILE`, which a server refuses."""
    previous = None
    for token in tokens(sql):
        if previous and previous.is_word(b"INTO") and token.is_word(b"OUTFILE"):
            return True
        previous = token
    return False
