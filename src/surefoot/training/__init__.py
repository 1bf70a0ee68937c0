"""The driver: runs, checkpoints, metrics, export of policies. Importing this package needs no JAX."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path


def enable_compilation_cache() -> Path | None:
    """Makes JAX keep compiled programs in the user's cache folder; returns that folder.

    The folder is ``$XDG_CACHE_HOME/surefoot/jax`` (default ``~/.cache``), one subfolder a kind of
    processor, since programs for one may not run on another. ``SUREFOOT_CACHE=off`` switches the
    cache off, and a cache folder that JAX was already told about is left alone; a folder that
    cannot be written costs the cache and nothing else.
    """
    if os.environ.get("SUREFOOT_CACHE", "").lower() in ("off", "0", "no", "false"):
        return None
    import jax

    chosen = getattr(jax.config, "jax_compilation_cache_dir", None)
    if chosen:
        return Path(chosen)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "surefoot" / "jax" / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # The default keeps only what took a second to compile; our small programs add up as well.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    return folder


def _processor() -> str:
    """A short name of this machine's processor and its instruction set."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"
