"""The gateway's token: where it comes from. It is sent to the gateway and shown nowhere."""

import html
import json
import os
from pathlib import Path
from urllib.parse import quote

from vpanalysis.errors import InputError

TOKEN_VARIABLE = "UA_OPS_TOKEN"
#: How a message names the token's three ways in.
WAYS_IN = f"--ops-token, the environment variable {TOKEN_VARIABLE} or a {TOKEN_VARIABLE}= line in .env"


def resolve_token(ops_token: str | None = None) -> str | None:
    """Returns the ops token: ``ops_token``, else ``UA_OPS_TOKEN``, else that line of ``.env`` in the working folder.

    Blank ones count as not given.

    Raises:
        InputError: The token holds characters that no HTTP header can carry.
    """
    for candidate in (ops_token, os.environ.get(TOKEN_VARIABLE), _token_of_file(Path(".env"))):
        token = (candidate or "").strip()
        if token:
            if not (token.isascii() and token.isprintable()):
                raise InputError(
                    "The ops token holds a line break or another character that no HTTP header can carry: "
                    f"check {WAYS_IN}."
                )
            return token
    return None


#: A shorter token is masked nowhere: it would be part of ordinary words.
MASKED_LENGTH = 6


def without_token(text: str) -> str:
    """Returns a text, such as a JSON file's, in which the ops token is ``***``.

    It is looked for as it is, and as Python, JSON (twice over), HTML and URLs write it.
    """
    token = resolve_token()
    if token is None or len(token) < MASKED_LENGTH:
        return text
    written = {token, repr(token)[1:-1], html.escape(token), quote(token, safe="")}
    for _ in range(3):
        written |= {json.dumps(form)[1:-1] for form in written}
    for form in sorted(written, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def _token_of_file(path: Path) -> str | None:
    """The last line for the variable counts, as in a shell; ``export`` and quotes are allowed."""
    if not path.is_file():  # a FIFO would be waited for
        return None
    try:
        lines = path.read_text("utf-8-sig", "replace").splitlines()
    except OSError:
        return None
    token = None
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and name.strip() == TOKEN_VARIABLE:
            value = value.strip()
            closing = value.find(value[0], 1) if value[:1] in ("'", '"') else -1
            token = value[1:closing] if closing > 0 else value.partition(" #")[0]
    return token
