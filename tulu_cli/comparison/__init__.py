"""`tulu compare`: the answers of several models to the same rows, beside each other."""
