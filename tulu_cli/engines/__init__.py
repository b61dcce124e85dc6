"""The engines: each a module or a folder here, with `why_not` and `load`; see `base.Engine`."""
