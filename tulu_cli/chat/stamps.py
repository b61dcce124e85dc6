"""New ids, and the time: the two things about a conversation that are not pure."""

import secrets
import time

from tulu_cli.chat.session import Stamp


def new_stamp() -> Stamp:
    """An id that nothing else in the world has, short enough to be typed in part, and now."""
    return Stamp(secrets.token_hex(6), time.time())
