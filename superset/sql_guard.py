"""The functions a dashboard's SQL may call: an allow-list, because ClickHouse has functions that read files.

Superset lets everybody who may open a chart send expressions of their own to `/chart/data`, so `file('/etc/passwd')`
would reach the warehouse. The server refuses such functions for the reader's account too; this is the nearer fence.
It reads the SQL with a lexer stricter than ClickHouse's: what it does not know, it refuses.
"""

import re
from collections.abc import Iterator

TOKEN = re.compile(
    r"""
    (?P<space>  [ \t\r\n]+ )
  | (?P<string> '(?:[^'\\]|\\.|'')*' )
  | (?P<quoted> `(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*" )
  | (?P<number> [0-9][A-Za-z0-9_.]* )
  | (?P<word>   [A-Za-z_][A-Za-z0-9_]* )
  | (?P<mark>   [-+*/%=<>!,.()\[\]?:;|] )
    """,
    re.VERBOSE | re.DOTALL,
)
FIRST_WORDS = {"select", "with", "describe", "desc", "show", "exists", "explain"}
REFUSED_WORDS = {"into", "outfile", "infile", "settings", "format"}

# Words that stand before a bracket without being a function.
SYNTAX = set(
    """
    all and any as asc between by case desc distinct else end exists except explain from having ilike in intersect
    interval join like limit not offset on or over partition prewhere select then union using when where with
    """.split()
)
FUNCTIONS = set(
    """
    abs any anylast argmax argmin array arraydistinct arraysort arraystringconcat avg cast ceil ceiling coalesce concat
    count countdistinct countif cumsum date date_add date_diff date_sub date_trunc dateadd datediff datesub datetime
    datetime64 datetrunc decimal dense_rank divide empty endswith equals extract first_value floor formatdatetime
    formatreadablequantity formatreadablesize greatest grouparray groupuniqarray has if ifnull intdiv isnotnull isnull
    lag lagInFrame last_value lead leadinframe least left length like lower lowcardinality ltrim match max maxif median
    min minif minus mod modulo multiif multiply negate not notempty notequals now now64 nullable nullif plus position
    pow power quantile quantiles rank replace replaceall replaceone replaceregexpall right round row_number rtrim sign
    sqrt startswith stddevpop stddevsamp string substr substring subtractdays subtracthours subtractmonths sum sumif
    toyyyymm toyyyymmdd today todate todate32 todatetime todatetime64 todayofmonth todayofweek todayofyear todecimal128
    todecimal64 tofloat64 tohour toint128 toint32 toint64 tolastdayofmonth tominute tomonday tomonth toquarter tosecond
    tostartofday tostartoffifteenminutes tostartoffiveminutes tostartofhour tostartofinterval tostartofminute
    tostartofmonth tostartofquarter tostartofweek tostartofyear tostring totimezone tounixtimestamp touint32 touint64
    tointervalday tointervalhour tointervalmonth tointervalweek toweek toyear trim trunc truncate tuple uniq uniqexact
    uniqif upper varpop varsamp yesterday
    """.lower().split()
)


def refusal(sql: str) -> str | None:
    """Why `sql` may not be sent, as a sentence for the person who wrote it; None when it may."""
    try:
        tokens = [(kind, text) for kind, text in _tokens(sql) if kind != "space"]
    except ValueError as error:
        return str(error)
    if not tokens or tokens[0][1].lower() not in FIRST_WORDS:
        return "Only queries that read are sent to the ledger."
    for (kind, text), following in zip(tokens, [*tokens[1:], ("mark", "")], strict=True):
        if kind == "word" and text.lower() in REFUSED_WORDS:
            return f"{text.upper()} is not allowed in a query of a dashboard."
        if following[1] == "(" and not _may_call(kind, text):
            return f"Function {text} is not allowed in a query of a dashboard."
    return None


def _may_call(kind: str, text: str) -> bool:
    """Whether a bracket may follow: quoted names are functions to ClickHouse, too."""
    if kind == "word":
        return text.lower() in FUNCTIONS or text.lower() in SYNTAX
    return kind == "mark"


def _tokens(sql: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(sql):
        found = TOKEN.match(sql, at)
        if found is None or sql.startswith(("--", "/*"), at):
            # Comments, heredocs, parameters and typographic quotes: no chart needs them, and each can hide a call.
            raise ValueError(f"{sql[at : at + 2]!r} is not allowed in a query of a dashboard.")
        yield str(found.lastgroup), found[0]
        at = found.end()
