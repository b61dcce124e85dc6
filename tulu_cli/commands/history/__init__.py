"""List, show, search, export, import and delete the conversations of `tulu chat`."""
