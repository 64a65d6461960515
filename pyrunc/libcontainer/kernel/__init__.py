"""The kernel's interfaces: system calls that Python lacks, its file systems, netlink, resctrl."""
