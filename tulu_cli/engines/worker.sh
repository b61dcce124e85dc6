#!/bin/sh
# Start a spawned worker: multiprocessing runs this file in Python's place, with Python's arguments.
# What Python is to run gets one call in front, which makes the worker ours (worker.py).
for argument do
  shift
  case $argument in
    "from multiprocessing.spawn import "*)
      argument="from tulu_cli.engines.worker import begin_spawned; begin_spawned(); $argument" ;;
  esac
  set -- "$@" "$argument"
done
exec "$TULU_WORKER_PYTHON" "$@"
