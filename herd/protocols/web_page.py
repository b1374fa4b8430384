"""What the web page is made of, and what a browser is told of it."""

from herd.protocols.headers import Headers

# Its files in herd/web, by the names of their endpoints.
FILES = {f"herd.{file}": file for file in ("index.html", "page.css", "page.js", "words.js", "live.js", "view.js")}

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}

# Scripts, styles and data of the router alone, and no text becomes HTML: a stranger's name can be none of these.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'; require-trusted-types-for 'script'"
)
# Kept by the browser, and asked for each time whether it still holds: a newer router has another page.
HEADERS: Headers = (
    ("Cache-Control", "no-cache"),
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
)


def content_type(file: str) -> str:
    """The type of a file, by what its name ends in."""
    return _TYPES[file.rpartition(".")[2]]
