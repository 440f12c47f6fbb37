"""System calls that no answer needs: refused to an answer's process by the kernel itself (seccomp), once and for all.

They would hold memory that no limit counts (memfd, System V), reach into or signal another process, or make name
spaces of their own, in which more is allowed. What root may do beyond its own files is given up before. Standard library
only: the child loads this file by its path. Linux on x86-64 and on 64-bit ARM; elsewhere ``refuse`` does nothing and says so.
"""

import ctypes
import os
import platform
import struct
import sys

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand: one line of a BPF program

# name: (number on x86-64, number on ARM)
REFUSED = {
    # memory that is in no process and in no file system with a limit
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239), "process_madvise": (440, 440),
    # other name spaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "fsopen": (430, 430), "open_tree": (428, 428),
    "move_mount": (429, 429), "mount_setattr": (442, 442), "pivot_root": (155, 41), "chroot": (161, 51),
    # more than the limits allow: root could raise them again
    "setrlimit": (160, 164),
    # ways around all this, and doors to the kernel that have been broken often
    "io_uring_setup": (425, 425), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
}  # fmt: skip
# allowed for oneself alone: the first argument is one's own number, or 0
ON_ITSELF = {
    "kill": (62, 129), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
}  # fmt: skip
# refused with these second arguments: they have the kernel signal whoever is named as the owner of a file
ORDERS = {
    (72, 25): (8, 10, 15),  # fcntl: F_SETOWN, F_SETSIG, F_SETOWN_EX
    (16, 29): (0x8901, 0x8902, 0x5412, 0x40045436),  # ioctl: FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCSIG
}
PRLIMIT = (302, 261)  # allowed to read limits: the third argument, a pointer to new ones, is 0
CLONE, CLONE3 = (56, 220), (435, 435)
NEW_SPACES = 0x7E020000  # clone's flags for name spaces of one's own
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the tables above, the kernel's number

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE, UNKNOWN = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # 1 is EPERM, 38 ENOSYS
NUMBER, MACHINE, FIRST, SECOND, THIRD = 0, 4, 16, 24, 32  # where in the kernel's record: number of the call, machine, arguments
OTHER_NUMBERS = 0x40000000  # x86-64 numbers its calls a second time from here
READ_ALL = 1 << 2  # what root keeps: it may read others' files, such as those that Python itself lies in


def refuse() -> bool:
    """Refuse the calls above to this process and all it starts; True when the kernel has agreed."""
    if not sys.platform.startswith("linux") or platform.machine() not in MACHINES:
        return False
    give_up_rights()
    code = b"".join(struct.pack("HBBI", *line) for line in program(platform.machine(), os.getpid()))
    lines = ctypes.create_string_buffer(code, len(code))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(lines)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    number = ctypes.c_ulong
    if prctl(38, number(1), number(0), number(0), number(0)):  # no new rights, also not by starting a program that has some
        return False
    return prctl(22, number(2), ctypes.byref(head), number(0), number(0)) == 0


def give_up_rights() -> None:
    """Root becomes a user like others: it looks into no other process, and lifts no limit."""
    libc = ctypes.CDLL(None)
    head = struct.pack("Ii", 0x20080522, 0)  # version 3 of the call; this process
    kept = struct.pack("6I", READ_ALL, READ_ALL, 0, 0, 0, 0)
    if os.geteuid() == 0:
        libc.capset(head, kept)


def program(machine: str, own: int) -> list[Instruction]:
    """The filter, for a process whose number is ``own``."""
    column, kernel = MACHINES[machine]
    lines: list[Instruction] = [
        (LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, kernel), (RETURN, 0, 0, REFUSE),
        (LOAD, 0, 0, NUMBER), (AT_LEAST, 0, 1, OTHER_NUMBERS), (RETURN, 0, 0, REFUSE),
    ]  # fmt: skip
    for number in (row[column] for row in REFUSED.values()):
        lines += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    for number in (row[column] for row in ON_ITSELF.values()):
        lines += [
            (EQUAL, 0, 5, number), (LOAD, 0, 0, FIRST), (EQUAL, 1, 0, own), (EQUAL, 0, 1, 0),
            (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE),
        ]  # fmt: skip
    for call, orders in ORDERS.items():
        lines += [(EQUAL, 0, len(orders) + 3, call[column]), (LOAD, 0, 0, SECOND)]
        lines += [(EQUAL, len(orders) - at, 0, order) for at, order in enumerate(orders)]
        lines += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    lines += [
        (EQUAL, 0, 6, PRLIMIT[column]), (LOAD, 0, 0, THIRD), (EQUAL, 0, 2, 0), (LOAD, 0, 0, THIRD + 4), (EQUAL, 1, 0, 0),
        (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW),
    ]  # fmt: skip
    lines += [(EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, UNKNOWN)]  # its flags are out of sight; the C library takes clone
    lines += [(EQUAL, 0, 4, CLONE[column]), (LOAD, 0, 0, FIRST), (ANY_BIT, 0, 1, NEW_SPACES), (RETURN, 0, 0, REFUSE)]
    return [*lines, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ALLOW)]
