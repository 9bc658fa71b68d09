"""Errors as a ClickHouse server reports them: a number, a name, and the HTTP status that goes with it."""

import re

SYNTAX_ERROR = 62
BAD_ARGUMENTS = 36
NOT_IMPLEMENTED = 48
ACCESS_DENIED = 497
AUTHENTICATION_FAILED = 516
SESSION_NOT_FOUND = 372
SESSION_IS_LOCKED = 373
INTO_OUTFILE_NOT_ALLOWED = 294
READONLY = 164
UNKNOWN_FORMAT = 73
CANNOT_DECOMPRESS = 271
CANNOT_READ_ALL_DATA = 33
NOT_ENOUGH_SPACE = 243
QUERY_IS_TOO_LARGE = 158
UNKNOWN_EXCEPTION = 1002

_BAD_REQUEST = {
    *(6, 26, 27, 36, 38, 41, 42, 43, 44, 53, 62, 69, 70, 72, 117, 130, 131, 177, 179, 184, 215, 271, 294),
    *(349, 386, 456, 457),
}
_NOT_FOUND = {46, 47, 50, 56, 60, 63, 73, 81, 115, 336, 372}
_FORBIDDEN = {164, 192, 193, 194, 291, 497, 516}
_STATUS = {
    **dict.fromkeys(_BAD_REQUEST, 400),
    **dict.fromkeys(_NOT_FOUND, 404),
    **dict.fromkeys(_FORBIDDEN, 403),
    NOT_IMPLEMENTED: 501,
    QUERY_IS_TOO_LARGE: 413,
}
_MESSAGE = re.compile(r"Code: (\d+)\. (.*)", re.DOTALL)
# The engine wraps what it has wrapped already: the number before, the name and version after, once a layer.
_WRAPPED_BEFORE = re.compile(r"^(DB::Exception: )(?:Code: \d+\. DB::Exception: )+")
_WRAPPED_AFTER = re.compile(r"(\. \(([A-Z_]+)\))(?: \(version [\d.]+\)\. \(\2\))+$")


class ClickHouseError(Exception):
    """A refusal or failure; `code` is ClickHouse's error number, `str()` is the text a client sees."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"Code: {code}. {message}")
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status a ClickHouse server answers with."""
        return _STATUS.get(self.code, 500)


def refusal(code: int, reason: str, name: str) -> ClickHouseError:
    """An error of the front itself, worded as the server words it: `DB::Exception: reason. (NAME)`."""
    return ClickHouseError(code, f"DB::Exception: {reason}. ({name})")


def from_engine(error: Exception) -> ClickHouseError:
    """The engine's own error, whose number stands in its text, said once."""
    found = _MESSAGE.search(str(error))
    if found is None:
        return refusal(UNKNOWN_EXCEPTION, str(error), "UNKNOWN_EXCEPTION")
    return ClickHouseError(int(found[1]), _WRAPPED_AFTER.sub(r"\1", _WRAPPED_BEFORE.sub(r"\1", found[2])))
