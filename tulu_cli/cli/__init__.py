"""The command line itself: routing, the one error boundary, completion in the shell."""
