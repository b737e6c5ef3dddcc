"""Becomes the program on its command line, after io_uring's system calls are forbidden to it: they answer EPERM, as in a container."""
import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD, JUMP_IF_AT_LEAST, JUMP_IF_ABOVE, RETURN = 0x20, 0x35, 0x25, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050001
URING_SETUP, URING_REGISTER = 425, 427  # the same on every architecture


def statement(code, value, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, value)


program = b"".join([
    statement(LOAD, 0),  # the system call's number
    statement(JUMP_IF_AT_LEAST, URING_SETUP, 0, 1),
    statement(JUMP_IF_ABOVE, URING_REGISTER, 0, 1),
    statement(RETURN, ALLOW),
    statement(RETURN, EPERM),
])
buffer = ctypes.create_string_buffer(program)
header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
for call in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(header)), 0, 0)]:
    if libc.prctl(*call) != 0:
        sys.exit(f"prctl {call[0]}: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
