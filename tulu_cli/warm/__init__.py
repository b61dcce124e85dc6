"""Warm engines: started once, found by every later command of this user, unloaded when idle.

    <runtime directory>/          0700, this user's
      locks/<key>                 held while an engine of this key is started
      <key>/                      one engine: a key is a hash of the model and its settings
        order.json                what was asked for, and the command that serves it
        state.json                what became of it; written by the supervisor alone
        info.json, failure.json   what was loaded, or why not; written by the server itself
        socket                    0600, HTTP in the dialect of OpenAI's completions
        alive                     locked by the supervisor for as long as it lives
        lease                     locked, shared, by every command that uses the engine
        log                       what the server prints

All locks are the kernel's: they go with the process that holds them, however it ends.
"""
