"""Lets two folders take each other's names in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_AT_FDCWD = -100  # Linux: paths are relative to the working directory
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2) on Linux, RENAME_SWAP of renamex_np(2) on macOS
# What file systems and systems that can't do it answer.
_UNABLE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def exchange(one: Path, other: Path) -> bool:
    """Let two paths of a file system exchange their names, so that each has one at all times.

    Python has no function for it, so the C library is called: `renameat2` on Linux (glibc 2.28 and
    later), `renamex_np` on macOS.

    Parameters
    ----------
    one, other
        Two files or folders that are there.

    Returns
    -------
    bool
        Whether it was done. If not, the system or the file system can't do it.

    Raises
    ------
    OSError
        A path is not there, or may not be renamed.
    """
    library = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    name = "renamex_np" if sys.platform == "darwin" else "renameat2"
    function = getattr(library, name, None)
    if function is None:
        return False
    if sys.platform == "darwin":
        failed = function(*paths, ctypes.c_uint(_EXCHANGE))
    else:
        here = ctypes.c_int(_AT_FDCWD)
        failed = function(here, paths[0], here, paths[1], ctypes.c_uint(_EXCHANGE))
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _UNABLE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))
