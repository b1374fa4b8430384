"""What holds of every dashboard's picture, and strangers' words that it is to hold for."""

from hypothesis import strategies as st
from rich.cells import cell_len

from herd.cli.live.blocks import Sheet
from herd.cli.live.cells import Look, Size

# Nothing, blanks, what terminals obey, what Rich obeys; wide, combined, joined, flipped and unassigned letters.
NASTY = (
    "studio", "", " ", "a\x1b[31mb", "\r\n\t\x00\x07\x08\x9b2J", "[bold]x[/bold]", "[/]", "\u6f22\u5b57" * 20,
    "\U0001f409" * 9, "\u2764\ufe0f", "\U0001f469\u200d\U0001f680", "\U0001f1e9\U0001f1ea", "e\u0301" * 40,
    "\u0301\u0301", "\u202e\u2066x", "\ufffd\ue000", "\u1100\u1161\u11a8", "\ufdfd", "x" * 400, "\u200b\ufeff",
    "\u0e19\u0e49\u0e33", "\ud800", "hf.co/some-publisher/Some-Model-70B-Instruct-GGUF:Q4_K_M",
)  # fmt: skip
words = st.lists(st.sampled_from(NASTY) | st.text(max_size=30), min_size=1, max_size=8)
looks = st.builds(Look, plain=st.booleans(), colour=st.booleans())


def holds(picture: Sheet, size: Size, look: Look) -> None:
    """As many rows as the screen has, none wider than it, and nothing in them that a terminal would obey."""
    assert len(picture.rows) == size.height
    for row in picture.rows:
        text = "".join(segment.text for segment in row)
        assert text.isprintable()
        assert cell_len(text) <= size.width, text
        assert text.isascii() or not look.plain
        assert not any(segment.control for segment in row)
